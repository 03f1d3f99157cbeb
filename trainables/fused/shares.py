"""What a pack used, shared out over its members."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trainables.run import Run

DIVIDED = ("cpu_seconds", "gpu_seconds", "joules")
"""What can be divided: processor time and energy. A second that all used at once is nobody's."""


def shared(run: Run, used: Mapping[str, float], members: int) -> dict[str, Any]:
    """A member's costs in the row of an epoch: an even share, as sums since the run began, and among how many it was shared.

    Seconds and memory are the pack's and absent. What was not known of an earlier epoch stays unknown.
    """
    before = run.history[-1] if run.history else None
    sums = {
        name: used[name] / members + (before[name] if before is not None else 0.0)
        for name in DIVIDED
        if name in used and (before is None or name in before)
    }
    return {**sums, "shared": members}
