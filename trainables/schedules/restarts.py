"""Cosine annealing with warm restarts."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from trainables.schedules import warmup


@dataclass(frozen=True, kw_only=True, slots=True)
class WarmRestarts:
    """``cycles`` times half a cosine from 1 down to ``floor``, each ``growth`` times as long as the one before (SGDR, 2017).

    The last cycle ends with the run (Loshchilov and Hutter); a linear warm-up over the first ``warmup`` share of it comes before.
    """

    cycles: int = 3
    growth: float = 2.0
    floor: float = 0.0
    warmup: float = 0.0

    def __call__(self, progress: float) -> float:
        """The multiplier at this progress; where one cycle meets the next, the next one's start."""
        lengths = [self.growth**cycle for cycle in range(self.cycles)]
        elapsed, begun = warmup.rest(progress, self.warmup) * sum(lengths), 0.0
        for length in lengths[:-1]:
            # A progress that should fall on the border must not miss it by rounding.
            if elapsed < begun + length - 1e-9 * sum(lengths):
                break
            begun += length
        else:
            length = lengths[-1]
        fallen = min(1.0, max(0.0, elapsed - begun) / length)
        level = self.floor + (1 - self.floor) * 0.5 * (1 + math.cos(math.pi * fallen))
        return warmup.ramp(progress, self.warmup) * level

    def conflicts(self) -> Iterator[str]:
        """What is wrong with the settings."""
        yield from warmup.conflicts("WarmRestarts", self.warmup)
        yield from warmup.floor_conflicts("WarmRestarts", self.floor)
        if not isinstance(self.cycles, int) or not 1 <= self.cycles <= 100:
            yield f"WarmRestarts cycles {self.cycles} must be a whole number from 1 to 100; 3 is usual"
        if not 1 <= self.growth <= 10:
            yield f"WarmRestarts growth {self.growth} must lie in [1, 10]; 1 keeps all cycles equal, 2 doubles each"
