"""How far a pass over the training set has come."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import torch
from torch import Tensor

from trainables.seeds import generator
from trainables.telemetry.row import TOTAL


@dataclass(kw_only=True, slots=True)
class Tally:
    """What the pass of one epoch has counted and used up, and where its generators stand: what a run in mid-epoch goes on from.

    ``batches`` of the epoch's order were taken, in ``steps`` of the optimizer. ``loss`` and ``weight`` are sums over samples,
    ``norm`` over steps: scalars in double precision on the device, the weight a number as long as the device need not be asked.
    The augmentation is drawn from ``seed``. ``spent`` is what was used before this process took over, by a row's names.
    ``generators`` are the states that the pass shall draw on from; None for a pass that begins. ``looks`` are the validations
    within the epoch, which took ``looked`` seconds. ``energy`` gives the joules that this process has used up, None where unknown.
    """

    device: torch.device
    seed: tuple[int | str, ...]
    loss: Tensor
    norm: Tensor
    weight: Tensor | float = 0.0
    batches: int = 0
    steps: int = 0
    spent: Mapping[str, float] = field(default_factory=dict)
    generators: Mapping[str, Tensor] | None = None
    looks: list[dict[str, float]] = field(default_factory=list)
    looked: float = 0.0
    energy: Callable[[], float | None] | None = None
    _augmenting: torch.Generator | None = field(default=None, init=False, repr=False)
    wall: float = field(default_factory=time.perf_counter)
    cpu: float = field(default_factory=time.process_time)

    @classmethod
    def begun(cls, device: torch.device, *seed: int | str) -> Self:
        """A pass before its first batch; its augmentation is drawn from ``seed``."""
        loss, norm = (torch.zeros((), device=device, dtype=torch.float64) for _ in range(2))
        return cls(device=device, seed=seed, loss=loss, norm=norm)

    @property
    def augmenting(self) -> torch.Generator:
        """Draws the augmentation; made where it is first asked for, since most runs have none."""
        if self._augmenting is None:
            self._augmenting = generator("augment", *self.seed)
        return self._augmenting

    @property
    def sums(self) -> Tensor:
        """Loss, weight and norm, [3], in double precision on the device; a copy."""
        weight = torch.as_tensor(self.weight, dtype=torch.float64, device=self.device)
        return torch.stack([self.loss, weight, self.norm])

    def state(self) -> dict[str, Any]:
        """All that the rest of the pass needs, as tensors on the CPU and plain values; asked for between two steps."""
        generators = {"augment": self.augmenting.get_state(), "cpu": torch.get_rng_state()}
        if self.device.type == "cuda":
            generators["gpu"] = torch.cuda.get_rng_state(self.device)
        return {
            "batches": self.batches,
            "steps": self.steps,
            "sums": self.sums.cpu(),
            "generators": generators,
            "spent": self._used(),
            "looks": self.looks,
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from a state; torch's generators are set once the pass begins, by ``draw_on``."""
        self.batches, self.steps, self.spent = state["batches"], state["steps"], state["spent"]
        self.loss, self.weight, self.norm = state["sums"].to(self.device, copy=True).unbind()
        self.generators = state["generators"]
        self.looks = [dict(look) for look in state.get("looks", ())]

    def draw_on(self) -> None:
        """Set the generators to where the pass was broken off; nothing for one that begins."""
        if self.generators is None:
            return
        self.augmenting.set_state(self.generators["augment"])
        if "cpu" in self.generators:
            torch.set_rng_state(self.generators["cpu"])
        if self.device.type == "cuda" and "gpu" in self.generators:
            torch.cuda.set_rng_state(self.generators["gpu"], self.device)

    def _used(self) -> dict[str, float]:
        """What the pass has used up, over all processes that had a part in it."""
        wall, cpu = time.perf_counter() - self.wall, time.process_time() - self.cpu
        used = {"seconds": wall - self.looked, "wall_seconds": wall, "cpu_seconds": cpu}
        if self.device.type == "cuda":
            used["gpu_seconds"] = wall
        joules = self.energy() if self.energy is not None else None
        if joules is not None and (not self.spent or "joules" in self.spent):
            used["joules"] = joules
        return {name: value + self.spent.get(name, 0.0) for name, value in used.items()}


def shared(parts: list[dict[str, Any]], rank: int, size: int) -> dict[str, Any]:
    """The part of worker ``rank`` of ``size`` in an epoch that was broken off, of those that its workers had.

    With another number of workers than had begun it, the first takes over all their losses; what is drawn from then on is drawn
    anew, so the numbers are those of a run like it and not the same.
    """
    if len(parts) == size:
        return parts[rank]
    own = parts[0]
    loss = sum(part["sums"][0] for part in parts) if rank == 0 else 0.0
    drawn = own["generators"] if rank == 0 else {"augment": own["generators"]["augment"]}
    spent = _spent([part["spent"] for part in parts]) if rank == 0 else {}
    sums = torch.tensor([loss, *own["sums"][1:]], dtype=torch.float64)
    return own | {"sums": sums, "generators": drawn, "spent": spent}


def _spent(parts: list[Mapping[str, float]]) -> dict[str, float]:
    """What several workers have used up, for one to account for: wall time is the first one's, what counts by worker their sum."""
    own = {name: value for name, value in parts[0].items() if name not in TOTAL}
    return own | {name: sum(part[name] for part in parts) for name in TOTAL if all(name in part for part in parts)}
