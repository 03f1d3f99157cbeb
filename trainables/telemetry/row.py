"""What a history's row says of cost."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from trainables.run import Run
    from trainables.telemetry.meter import Meter
    from trainables.world import World

SUMS = ("seconds", "wall_seconds", "cpu_seconds", "gpu_seconds", "joules")
"""What a row holds as sums since the run began, over all its attempts."""

HOLED = ("seconds", "wall_seconds", "joules")
"""Of these, what is missing in a row is not known: a sum with a hole is none."""

TOTAL = ("cpu_seconds", "gpu_seconds", "joules", "system/gpu_watts")
MEAN = ("system/cpu_percent", "system/gpu_percent", "system/gpu_throttled_percent")
MOST = (
    *("peak_bytes", "system/rss_bytes", "system/cgroup_bytes", "system/cgroup_percent"),
    *("system/gpu_held_bytes", "system/gpu_celsius"),
)
"""What several workers' figures come to. Other figures, wall time above all, are the first worker's."""


def costs(run: Run, meter: Meter) -> dict[str, Any]:
    """The costs of the epoch that has just ended, as its row has them; what is not known is absent.

    Energy and wall time that are not known of one epoch are not known of the run from there on: a pack's clock is not a member's.
    """
    before, spent = run.history[-1] if run.history else None, run.tally.spent
    used = meter.used()
    if spent:
        # This process took over an epoch in the middle.
        used = {name: value + spent.get(name, 0.0) if name in SUMS else value for name, value in used.items()}
        if "joules" not in spent:
            used.pop("joules", None)
    found: dict[str, Any] = over_workers(used, run.world, run.device)
    if before is not None:
        for name in HOLED:
            if name not in before:
                found.pop(name, None)
        for name in SUMS:
            if name in found:
                found[name] += before.get(name, 0.0)
        found["peak_bytes"] = max(found.get("peak_bytes", 0), before.get("peak_bytes", 0)) or None
    whole = {
        name: int(value) if name.endswith("_bytes") else value for name, value in found.items() if value is not None
    }
    throttled = meter.throttled()
    return whole | ({"throttled": throttled} if throttled is not None else {})


def over_workers(used: Mapping[str, float], world: World, device: torch.device) -> dict[str, float]:
    """What all workers used; a sum or mean that one of them does not know is not known."""
    if world.size == 1:
        return dict(used)
    summed = torch.tensor([used.get(name, math.nan) for name in (*TOTAL, *MEAN)], dtype=torch.float64, device=device)
    most = torch.tensor([used.get(name, -math.inf) for name in MOST], dtype=torch.float64, device=device)
    found = dict(zip((*TOTAL, *MEAN, *MOST), [*world.total(summed).tolist(), *world.most(most).tolist()], strict=True))
    means = {name: found[name] / world.size for name in MEAN}
    return {name: value for name, value in {**used, **found, **means}.items() if math.isfinite(value)}
