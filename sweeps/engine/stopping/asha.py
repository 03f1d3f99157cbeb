"""Early stopping of heats: asynchronous successive halving, level by level, by Ray Tune's own scheduler."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ray.tune.schedulers import AsyncHyperBandScheduler


@dataclass(frozen=True, kw_only=True, slots=True)
class ASHA:
    """Asynchronous successive halving (Li et al., 2020): at epochs grace, grace*factor, … only the best 1/factor goes on.

    Rungs are kept apart by level, so that a level is never stopped for being slower than another.
    """

    grace: int = 1
    factor: int = 3

    def build(self, epochs: int, mode: str) -> AsyncHyperBandScheduler:
        """The scheduler of one level."""
        from ray.tune.schedulers import AsyncHyperBandScheduler

        return AsyncHyperBandScheduler(
            time_attr="epoch",
            metric="value",
            mode=mode,
            max_t=epochs,
            grace_period=self.grace,
            reduction_factor=self.factor,
            stop_last_trials=False,
        )

    def conflicts(self, epochs: int) -> Iterator[str]:
        """What is wrong with the settings for a recipe of so many epochs."""
        if self.factor < 2:
            yield f"ASHA factor {self.factor} must be at least 2; 3 is usual"
        if not 1 <= self.grace <= epochs:
            yield f"ASHA grace {self.grace} must lie between 1 and the recipe's {epochs} epochs"


@dataclass(frozen=True, slots=True)
class _Named:
    """All that the scheduler looks at in a trial."""

    trial_id: str


class Halving:
    """One scheduler a level; trials are known by their ids, so that a continued trial stands where it stood."""

    def __init__(self, settings: ASHA | None, epochs: int, mode: str) -> None:
        self._settings, self._epochs, self._mode = settings, epochs, mode
        self._levels: dict[str, AsyncHyperBandScheduler] = {}
        self._known: set[str] = set()

    def stops(self, level: str, trial: str, epoch: int, value: float) -> bool:
        """Take in a value and say whether the trial should stop; never at its last epoch, never for a value that is not finite."""
        if self._settings is None or not math.isfinite(value):
            return False
        from ray.tune.schedulers import TrialScheduler

        if level not in self._levels:
            self._levels[level] = self._settings.build(self._epochs, self._mode)
        scheduler, named = self._levels[level], _Named(trial)
        if trial not in self._known:
            scheduler.on_trial_add(None, named)
            self._known.add(trial)
        decision = scheduler.on_trial_result(None, named, {"epoch": epoch, "value": value})
        return bool(decision == TrialScheduler.STOP) and epoch < self._epochs

    def feed(self, level: str, trial: str, history: Iterable[Mapping[str, Any]], name: str) -> int | None:
        """Rebuild the rungs from a recorded history of the metric ``name``; the epoch of its cut comes back, if there was one."""
        cut = None
        for row in history:
            value = row.get(name)
            if value is not None and self.stops(level, trial, row["epoch"], value):
                cut = row["epoch"]
        return cut
