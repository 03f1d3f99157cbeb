"""Learning-rate schedules: functions of a run's progress from 0 to 1 that give a multiplier of the optimizer's lr."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol


class Schedule(Protocol):
    """(progress) -> multiplier. The loop asks at the middle of each step, so neither the first nor the last step is wasted on 0."""

    def __call__(self, progress: float) -> float:
        """The multiplier at this progress, 0 at the run's start and 1 at its end."""
        ...

    def conflicts(self) -> Iterator[str]:
        """What is wrong with the settings."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Constant:
    """The optimizer's lr throughout, after a linear warm-up over the first ``warmup`` share of the run."""

    warmup: float = 0.0

    def __call__(self, progress: float) -> float:
        return _ramp(progress, self.warmup)

    def conflicts(self) -> Iterator[str]:
        """What is wrong with the settings."""
        yield from _warmup("Constant", self.warmup)


@dataclass(frozen=True, kw_only=True, slots=True)
class Cosine:
    """Linear warm-up over the first ``warmup`` share of the run, then half a cosine from 1 down to ``floor``.

    Without warm-up it is the annealing of Loshchilov and Hutter (SGDR, 2017) over one period.
    """

    warmup: float = 0.0
    floor: float = 0.0

    def __call__(self, progress: float) -> float:
        if progress < self.warmup:
            return _ramp(progress, self.warmup)
        fallen = (progress - self.warmup) / (1 - self.warmup)
        return self.floor + (1 - self.floor) * 0.5 * (1 + math.cos(math.pi * fallen))

    def conflicts(self) -> Iterator[str]:
        """What is wrong with the settings."""
        yield from _warmup("Cosine", self.warmup)
        if not 0 <= self.floor <= 1:
            yield f"Cosine floor {self.floor} must lie in [0, 1]: it is a share of the optimizer's lr"


def _ramp(progress: float, warmup: float) -> float:
    return progress / warmup if progress < warmup else 1.0


def _warmup(name: str, warmup: float) -> Iterator[str]:
    if not 0 <= warmup < 1:
        yield f"{name} warmup {warmup} must lie in [0, 1): it is a share of the run, 0.1 is usual"
