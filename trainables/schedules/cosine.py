"""Cosine annealing."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from trainables.schedules import warmup


@dataclass(frozen=True, kw_only=True, slots=True)
class Cosine:
    """Linear warm-up over the first ``warmup`` share of the run, then half a cosine from 1 down to ``floor``.

    Without warm-up it is the annealing of Loshchilov and Hutter (SGDR, 2017) over one period.
    """

    warmup: float = 0.0
    floor: float = 0.0

    def __call__(self, progress: float) -> float:
        """The multiplier at this progress."""
        fallen = warmup.rest(progress, self.warmup)
        level = self.floor + (1 - self.floor) * 0.5 * (1 + math.cos(math.pi * fallen))
        return warmup.ramp(progress, self.warmup) * level

    def conflicts(self) -> Iterator[str]:
        """What is wrong with the settings."""
        yield from warmup.conflicts("Cosine", self.warmup)
        yield from warmup.floor_conflicts("Cosine", self.floor)
