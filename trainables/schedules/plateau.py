"""Reduction on a plateau."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

from trainables.schedules import warmup

if TYPE_CHECKING:
    from trainables.schedules.schedule import Schedule
    from trainables.task import Maximise, Minimise


@dataclass(frozen=True, kw_only=True, slots=True)
class Plateau:
    """The learning rate times ``factor`` when validation has not improved for more than ``patience`` epochs, and so again.

    It never falls below ``floor``, a share of the optimizer's lr. An improvement is one by more than ``min_delta`` over the best so
    far, in the metric of ``goal`` (None: the task's). An epoch without validation does not count; a NaN is no improvement. A linear
    warm-up over the first ``warmup`` share of the run comes before. As torch's ``ReduceLROnPlateau`` with ``threshold_mode="abs"``.
    """

    factor: float = 0.1
    patience: int = 10
    min_delta: float = 0.0
    floor: float = 0.0
    goal: Maximise | Minimise | None = None
    warmup: float = 0.0

    def __call__(self, progress: float) -> float:
        """The multiplier at this progress as long as nothing was reduced."""
        return warmup.ramp(progress, self.warmup)

    def after(self, history: Sequence[Mapping[str, Any]], goal: Maximise | Minimise) -> Schedule:
        """The schedule of the epoch that comes after these."""
        return _Reduced(level=self._level(history, self.goal or goal), warmup=self.warmup)

    def _level(self, history: Sequence[Mapping[str, Any]], goal: Maximise | Minimise) -> float:
        sign = 1.0 if goal.mode == "max" else -1.0
        level, best, waited = 1.0, float("-inf"), 0
        for row in history:
            value = row.get(f"val/{goal.metric}")
            if value is None:
                continue
            if sign * value > best + self.min_delta:
                best, waited = sign * value, 0
            else:
                waited += 1
            if waited > self.patience:
                level, waited = max(level * self.factor, self.floor), 0
        return level

    def conflicts(self) -> Iterator[str]:
        """What is wrong with the settings."""
        yield from warmup.conflicts("Plateau", self.warmup)
        yield from warmup.floor_conflicts("Plateau", self.floor)
        if not 0 < self.factor < 1:
            yield f"Plateau factor {self.factor} must lie between 0 and 1; 0.1 is usual"
        if not isinstance(self.patience, int) or self.patience < 0:
            yield f"Plateau patience {self.patience} must be a whole number of epochs from 0; 10 is usual"
        if not self.min_delta >= 0:
            yield f"Plateau min_delta {self.min_delta} must not be negative"


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class _Reduced:
    level: float
    warmup: float

    def __call__(self, progress: float) -> float:
        return self.level * warmup.ramp(progress, self.warmup)

    def conflicts(self) -> Iterator[str]:
        yield from ()
