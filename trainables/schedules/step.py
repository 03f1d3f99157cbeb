"""Stepwise decay."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from trainables.schedules import warmup

_CLOSE = 1e-9
"""A progress that should fall on a drop must not miss it by rounding."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """The learning rate times ``factor`` at each of several points of the run (He et al., 2016).

    Either after every ``every`` share of the run, such as 1/3, or at the shares in ``milestones``, such as (0.5, 0.75); thirds when
    neither is given. A linear warm-up over the first ``warmup`` share comes before, and moves no drop.
    """

    every: float | None = None
    milestones: tuple[float, ...] | None = None
    factor: float = 0.1
    warmup: float = 0.0

    def __call__(self, progress: float) -> float:
        """The multiplier at this progress; at a drop, the one after it."""
        return warmup.ramp(progress, self.warmup) * self.factor ** self._drops(progress)

    def _drops(self, progress: float) -> int:
        if self.milestones is not None:
            return sum(progress >= milestone - _CLOSE for milestone in self.milestones)
        return math.floor(progress / (self.every or 1 / 3) + _CLOSE)

    def conflicts(self) -> Iterator[str]:
        """What is wrong with the settings."""
        yield from warmup.conflicts("Step", self.warmup)
        if self.every is not None and self.milestones is not None:
            yield f"Step every {self.every} and milestones {self.milestones} say the same in two ways; give one of them"
        if self.every is not None and not 0 < self.every < 1:
            yield f"Step every {self.every} must lie between 0 and 1: it is a share of the run, 1/3 is usual"
        if self.milestones is not None and not all(0 < milestone < 1 for milestone in self.milestones):
            yield f"Step milestones {self.milestones} must lie between 0 and 1: they are shares of the run, (0.5, 0.75) is usual"
        if not 0 < self.factor < 1:
            yield f"Step factor {self.factor} must lie between 0 and 1; 0.1 is usual"
