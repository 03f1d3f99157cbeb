"""Asynchronous successive halving, by Ray Tune's own scheduler."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sweeps.engine.stopping.early_stop import Stopper, late_grace, small_factor

if TYPE_CHECKING:
    from ray.tune.schedulers import AsyncHyperBandScheduler


@dataclass(frozen=True, kw_only=True, slots=True)
class ASHA:
    """Asynchronous successive halving (Li et al., 2020): at epochs grace, grace*factor, … only the best 1/factor goes on.

    Rungs are kept apart by level, so that a level is never stopped for being slower than another.
    """

    grace: int = 1
    factor: int = 3

    def build(self, epochs: int, mode: str) -> Stopper:
        """The rungs of one level."""
        from ray.tune.schedulers import AsyncHyperBandScheduler

        scheduler = AsyncHyperBandScheduler(
            time_attr="epoch",
            metric="value",
            mode=mode,
            max_t=epochs,
            grace_period=self.grace,
            reduction_factor=self.factor,
            stop_last_trials=False,
        )
        return Rungs(scheduler)

    def conflicts(self, epochs: int) -> Iterator[str]:
        """What is wrong with the settings for a recipe of so many epochs."""
        yield from small_factor("ASHA", self.factor)
        yield from late_grace("ASHA", self.grace, epochs)


@dataclass(frozen=True, slots=True)
class _Named:
    """All that the scheduler looks at in a trial."""

    trial_id: str


class Rungs:
    """Tune's scheduler, asked by the ids of trials alone, so that a continued trial stands where it stood."""

    def __init__(self, scheduler: AsyncHyperBandScheduler) -> None:
        self._scheduler = scheduler
        self._known: set[str] = set()

    def stops(self, trial: str, epoch: int, value: float) -> bool:
        """What Tune says."""
        from ray.tune.schedulers import TrialScheduler

        named = _Named(trial)
        if trial not in self._known:
            self._scheduler.on_trial_add(None, named)
            self._known.add(trial)
        decision = self._scheduler.on_trial_result(None, named, {"epoch": epoch, "value": value})
        return bool(decision == TrialScheduler.STOP)
