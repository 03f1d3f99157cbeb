"""The search of one level: an Optuna study by ask and tell."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from analysis.records import Status, TrialRecord
from sweeps.engine import space
from trainables.describe import Scalar
from trainables.seeds import derived

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.trial import Trial

    from sweeps.engine.spec import Sweep


class LevelStudy:
    """Points of one level, asked for and told about; ``known`` heats are in it from the start.

    The sampler is seeded by the level and by how much is known, so that a continued search does not ask its first points again.
    """

    def __init__(self, sweep: Sweep, level: Mapping[str, Scalar], known: int) -> None:
        import optuna

        if sweep.search is None:
            raise ValueError("a sweep without a search has no study")
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._sweep, self._level = sweep, level
        self._metric = f"val/{sweep.task.goal.metric}"
        self._maximise = sweep.task.goal.mode == "max"
        self._study = optuna.create_study(
            direction="maximize" if self._maximise else "minimize",
            sampler=sweep.search.build(derived("search", sweep.seed, str(sorted(level.items())), known) % 2**32),
        )
        self._open: dict[str, list[Trial]] = {}

    def ask(self) -> tuple[dict[str, Scalar], Trial]:
        """A new point (the level's own values included) and Optuna's handle to it."""
        trial = self._study.ask()
        return self._fill(trial), trial

    def expect(self, job_id: str, trial: Trial) -> None:
        """Remember that this trial waits for the job; several may wait for one."""
        self._open.setdefault(job_id, []).append(trial)

    def resume(self, job_id: str, point: Mapping[str, Scalar]) -> None:
        """Put in a point that is under way, so that the search knows it and waits for it."""
        self._study.enqueue_trial(dict(self._parameters(point)))
        _, trial = self.ask()
        self.expect(job_id, trial)

    def report(self, job_id: str, epoch: int, value: float) -> None:
        """Tell an intermediate value; values that are not finite are left out."""
        if math.isfinite(value):
            for trial in self._open.get(job_id, ()):
                trial.report(value, epoch)

    def tell(self, record: TrialRecord) -> None:
        """Settle all that wait for this record: COMPLETE at its best value, PRUNED when stopped, FAIL otherwise."""
        from optuna.trial import TrialState

        value = self._value(record)
        for trial in self._open.pop(record.id, ()):
            if record.status is Status.COMPLETED and value is not None:
                self._study.tell(trial, value)
            elif record.status is Status.STOPPED:
                self._study.tell(trial, state=TrialState.PRUNED)
            else:
                self._study.tell(trial, state=TrialState.FAIL)

    def add(self, record: TrialRecord) -> None:
        """Put in a heat from the ledger, with its curve."""
        from optuna.trial import TrialState, create_trial

        value = self._value(record)
        state = {Status.COMPLETED: TrialState.COMPLETE, Status.STOPPED: TrialState.PRUNED}.get(
            record.status, TrialState.FAIL
        )
        if state is TrialState.COMPLETE and value is None:
            state = TrialState.FAIL
        curve = {row["epoch"]: row[self._metric] for row in record.history if row.get(self._metric) is not None}
        parameters = self._parameters(record.point)
        distributions = self._distributions(record.point)
        self._study.add_trial(
            create_trial(
                state=state,
                value=value if state is TrialState.COMPLETE else None,
                params=parameters,
                distributions=distributions,
                intermediate_values=curve,
            )
        )

    @property
    def size(self) -> dict[str, int]:
        """Trials in the study by state."""
        counts: dict[str, int] = {}
        for trial in self._study.trials:
            counts[trial.state.name] = counts.get(trial.state.name, 0) + 1
        return counts

    def _value(self, record: TrialRecord) -> float | None:
        """The best validation value of a record's curve: what the epoch is chosen by."""
        values = [row[self._metric] for row in record.history if row.get(self._metric) is not None]
        finite = [value for value in values if math.isfinite(value)]
        if not finite:
            return None
        return float(max(finite) if self._maximise else min(finite))

    def _fill(self, trial: Trial) -> dict[str, Scalar]:
        point: dict[str, Scalar] = {}

        def filler(path: str, hole: space.Hole) -> Scalar:
            if isinstance(hole, space.Each):
                point[path] = self._level[path]
            else:
                point[path] = _suggested(trial, _parameter(path, hole), hole)
            return point[path]

        space.resolve(self._sweep.recipe, filler)
        return point

    def _walk(self, point: Mapping[str, Scalar]) -> list[tuple[str, space.Hole, Scalar]]:
        """The searched holes that this point fills, with Optuna's names for them."""
        found: list[tuple[str, space.Hole, Scalar]] = []

        def filler(path: str, hole: space.Hole) -> Scalar:
            if not isinstance(hole, space.Each):
                found.append((_parameter(path, hole), hole, point[path]))
            return point[path]

        space.resolve(self._sweep.recipe, filler)
        return found

    def _parameters(self, point: Mapping[str, Scalar]) -> dict[str, Any]:
        return {parameter: value for parameter, _, value in self._walk(point)}

    def _distributions(self, point: Mapping[str, Scalar]) -> dict[str, BaseDistribution]:
        return {parameter: _distribution(hole) for parameter, hole, _ in self._walk(point)}


def _parameter(path: str, hole: space.Hole) -> str:
    """Optuna's name of a hole: options of one choice may each have a hole at the same place, with another range."""
    return f"{path} in {space.describe(hole)}"


def _suggested(trial: Trial, parameter: str, hole: space.Hole) -> Scalar:
    match hole:
        case space.Choice(options):
            chosen: Scalar = trial.suggest_categorical(parameter, [space.name(option) for option in options])
            return chosen
        case space.Uniform(low, high, log):
            return trial.suggest_float(parameter, low, high, log=log)
        case space.IntRange(low, high, log):
            return trial.suggest_int(parameter, low, high, log=log)
        case space.Each():
            raise TypeError(f"{parameter} is a compared factor, which is not searched")


def _distribution(hole: space.Hole) -> BaseDistribution:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    match hole:
        case space.Choice(options):
            return CategoricalDistribution([space.name(option) for option in options])
        case space.Uniform(low, high, log):
            return FloatDistribution(low, high, log=log)
        case space.IntRange(low, high, log):
            return IntDistribution(low, high, log=log)
        case space.Each():
            raise TypeError("a compared factor is not searched")
