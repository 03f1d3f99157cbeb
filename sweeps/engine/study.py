"""The search of one level: an Optuna study by ask and tell."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING

from analysis.records import Status, TrialRecord
from sweeps.engine.asked import Asked
from sweeps.engine.search import Search
from sweeps.engine.search.domain import suggested
from trainables.describe import Scalar
from trainables.seeds import derived

if TYPE_CHECKING:
    from optuna.trial import TrialState

    from sweeps.engine.spec import Sweep


class LevelStudy:
    """Points of one level, asked for and told about; ``known`` heats are in it from the start.

    The sampler is seeded by the level and by how much is known, so that a continued search does not ask its first points again.
    """

    def __init__(self, sweep: Sweep, level: Mapping[str, Scalar], search: Search, known: int) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._domain, self._also = sweep.domain(level), sweep.also
        self._completed_only, self._learns = search.completed_only, search.learns
        self._metric = f"val/{sweep.task.goal.metric}"
        self._maximise = sweep.task.goal.mode == "max"
        self._study = optuna.create_study(
            directions=["maximize" if mode == "max" else "minimize" for mode in self._domain.goals],
            sampler=search.build(
                self._domain, derived("search", sweep.seed, str(sorted(level.items())), known) % 2**32
            ),
        )
        self._open: dict[str, list[Asked]] = {}
        self._released: list[str] = []
        self._worst: list[float] | None = None

    def ask(self) -> Asked:
        """A new point."""
        trial = self._study.ask()
        return Asked(point=self._domain.point(partial(suggested, trial)), trial=trial)

    def expect(self, job_id: str, asked: Asked) -> None:
        """Remember that what was asked waits for the job; several may wait for one."""
        self._open.setdefault(job_id, []).append(asked)

    def resume(self, job_id: str, point: Mapping[str, Scalar]) -> None:
        """Put in a point that is under way, so that the search knows it and waits for it."""
        self._study.enqueue_trial(dict(self._domain.parameters(point)))
        self.expect(job_id, self.ask())

    def report(self, job_id: str, epoch: int, value: float) -> None:
        """Tell an intermediate value to a search that learns, one that is finite. Optuna takes none where there are two goals."""
        if self._learns and math.isfinite(value) and self._also is None:
            for asked in self._open.get(job_id, ()):
                asked.trial.report(value, epoch)  # type: ignore[union-attr]

    def tell(self, record: TrialRecord) -> None:
        """Settle all that wait for this record; ``_outcome`` says how."""
        state, values = self._outcome(record)
        for asked in self._open.pop(record.id, ()):
            self._study.tell(asked.trial, values, state=state)  # type: ignore[arg-type]
        self._release(record)

    def add(self, record: TrialRecord) -> None:
        """Put in a heat from the ledger, with its curve."""
        from optuna.trial import create_trial

        state, values = self._outcome(record)
        curve = {row["epoch"]: row[self._metric] for row in record.history if row.get(self._metric) is not None}
        self._study.add_trial(
            create_trial(
                state=state,
                values=values,
                params=dict(self._domain.parameters(record.point)),
                distributions=self._domain.distributions(record.point),
                intermediate_values=curve if self._also is None else {},
            )
        )
        self._release(record)

    def released(self) -> list[str]:
        """The jobs, told since the last call, whose checkpoints nothing will go on from."""
        released, self._released = self._released, []
        return released

    @property
    def size(self) -> dict[str, int]:
        """Trials in the study by state."""
        counts: dict[str, int] = {}
        for trial in self._study.trials:
            counts[trial.state.name] = counts.get(trial.state.name, 0) + 1
        return counts

    def _release(self, record: TrialRecord) -> None:
        if record.status.settled:  # a lost one may be tried once more
            self._released.append(record.id)

    def _outcome(self, record: TrialRecord) -> tuple[TrialState, list[float] | None]:
        """COMPLETE at the best value, PRUNED when stopped or diverged, FAIL when the point is not to blame.

        A sampler that knows completed heats alone is told of a stopped one at the best that it had reached, and of a diverged one
        at the worst value seen: left out, it would be asked for again.
        """
        from optuna.trial import TrialState

        values = self._values(record)
        if record.status is Status.COMPLETED and values is not None:
            self._see(values)
            return TrialState.COMPLETE, values
        if record.status not in (Status.STOPPED, Status.DIVERGED):
            return TrialState.FAIL, None
        if self._completed_only and self._also is None:
            told = values if record.status is Status.STOPPED else self._worst
            if told is not None:
                self._see(told)
                return TrialState.COMPLETE, told
        return TrialState.PRUNED, None

    def _see(self, values: list[float]) -> None:
        """Keep the worst of each goal."""
        worst = self._worst or values
        pairs = zip(self._domain.goals, worst, values, strict=True)
        self._worst = [min(a, b) if mode == "max" else max(a, b) for mode, a, b in pairs]

    def _values(self, record: TrialRecord) -> list[float] | None:
        """What a record reached: the best validation value of its curve, which the epoch is chosen by, and the second goal's."""
        curve = [row[self._metric] for row in record.history if row.get(self._metric) is not None]
        finite = [float(value) for value in curve if math.isfinite(value)]
        if not finite:
            return None
        best = max(finite) if self._maximise else min(finite)
        if self._also is None:
            return [best]
        second = self._also.value(record)
        return None if second is None else [best, second]
