"""How a sweep under way stands, level by level, from what its trials tell."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from analysis import units
from analysis.records import Row, Stage, Status, TrialRecord
from reports.curves import number


@dataclass(frozen=True, kw_only=True, slots=True)
class Standing:
    """One level: trials that have ended and those under way; ``best`` is the best validation value of its heats."""

    label: str
    heats: int
    finals: int
    running: int
    stopped: int
    diverged: int
    lost: int
    best: float | None


@dataclass(slots=True)
class _Trial:
    """``epochs`` are its own, those ``before`` this command among them; a segment ``begins`` where another left off."""

    label: str
    stage: Stage
    status: Status
    epochs: int = 0
    before: int = 0
    best: float | None = None
    begins: int = 0
    cut: bool = False


@dataclass(kw_only=True, slots=True)
class Progress:
    """Counts by trial, so that one that is told twice, or run again after a loss, counts once; the last status counts.

    ``levels`` are labels in order, ``heats`` those planned for each; a trial of a level that is not among them, as in a sweep
    without factors, counts for the only level there is, or for one more at the end.
    """

    levels: Sequence[str]
    heats: Sequence[int]
    seeds: int
    epochs: int
    metric: str
    mode: str
    _trials: dict[str, _Trial] = field(default_factory=dict)
    _settled: Counter[Stage] = field(default_factory=Counter)

    def began(self, record: TrialRecord) -> None:
        """A trial starts, or goes on from the epochs that its history holds."""
        begins = record.earlier[-1]["until"] if record.parent is not None else 0
        at = max((int(row.get("epoch", 0)) - begins for row in record.history), default=0)
        trial = _Trial(
            label=self._label(record), stage=record.stage, status=Status.RUNNING, epochs=at, before=at, begins=begins
        )
        self._put(record.id, trial)

    def told(self, record_id: str, row: Row) -> None:
        """An epoch of a trial has ended; one of a trial that never began is no one's and left out."""
        trial = self._trials.get(record_id)
        if trial is None:
            return
        trial.epochs = max(trial.epochs, int(number(row.get("epoch")) or 0) - trial.begins)
        self._score(trial, number(row.get(f"val/{self.metric}")))

    def over(self, record: TrialRecord, *, earlier: bool = False) -> None:
        """A trial has ended; ``earlier`` when that was in an earlier command, whose pace says nothing about this one."""
        known = self._trials.get(record.id)
        before = record.epochs if earlier else known.before if known is not None else 0
        trial = _Trial(
            label=self._label(record),
            stage=record.stage,
            status=record.status,
            epochs=record.epochs,
            before=before,
            cut=record.status is Status.STOPPED and record.until is None,
        )
        trial.best = None if known is None else known.best
        self._score(trial, number(record.metrics.get(f"val/{self.metric}")))
        self._put(record.id, trial)

    def standings(self) -> list[Standing]:
        """Each level as it stands, in order."""
        labels = list(dict.fromkeys([*self.levels, *(trial.label for trial in self._trials.values())]))
        return [self._standing(label) for label in labels]

    def done(self, stage: Stage) -> int:
        """Trials of this stage that need not be run again."""
        return self._settled[stage]

    def planned(self, stage: Stage) -> int:
        """Trials of this stage that the sweep asks for."""
        return sum(self.heats) if stage is Stage.HEAT else max(len(self.levels), 1) * self.seeds

    @property
    def running(self) -> int:
        """Trials under way."""
        return sum(trial.status is Status.RUNNING for trial in self._trials.values())

    def left(self, elapsed: float) -> float | None:
        """Seconds to go at this command's own pace, None before it has trained enough epochs to have one.

        Heats that are stopped early train fewer epochs: those to come are taken to train as many as the ended ones did.
        """
        trained = sum(trial.epochs - trial.before for trial in self._trials.values())
        if trained < 2 or elapsed <= 0:
            return None
        heats = [t.epochs for t in self._trials.values() if t.stage is Stage.HEAT and t.status.settled]
        usual = sum(heats) / len(heats) if heats else float(self.epochs)
        under_way = [trial for trial in self._trials.values() if trial.status is Status.RUNNING]
        ahead = sum(
            max((usual if trial.stage is Stage.HEAT else float(self.epochs)) - trial.epochs, 0.0) for trial in under_way
        )
        for stage, each in ((Stage.HEAT, usual), (Stage.FINAL, float(self.epochs))):
            begun = sum(trial.stage is stage for trial in under_way)
            ahead += max(self.planned(stage) - self.done(stage) - begun, 0) * each
        return ahead * elapsed / trained

    def best(self) -> Standing | None:
        """The level whose heats have the best validation value so far."""
        scored = [standing for standing in self.standings() if standing.best is not None]
        sign = 1.0 if self.mode == "max" else -1.0
        return max(scored, key=lambda standing: sign * (standing.best or 0.0)) if scored else None

    def _standing(self, label: str) -> Standing:
        own = [trial for trial in self._trials.values() if trial.label == label]
        heats = [trial for trial in own if trial.stage is Stage.HEAT]
        values = [trial.best for trial in heats if trial.best is not None]
        return Standing(
            label=label,
            heats=sum(trial.status.settled for trial in heats),
            finals=sum(trial.status.settled for trial in own if trial.stage is Stage.FINAL),
            running=sum(trial.status is Status.RUNNING for trial in own),
            stopped=sum(trial.cut for trial in own),
            diverged=sum(trial.status is Status.DIVERGED for trial in own),
            lost=sum(trial.status.lost for trial in own),
            best=(max(values) if self.mode == "max" else min(values)) if values else None,
        )

    def _put(self, record_id: str, trial: _Trial) -> None:
        """Note a trial; what has settled is counted along, since it is asked for at every epoch of a long sweep."""
        known = self._trials.get(record_id)
        if known is not None:
            self._settled[known.stage] -= known.status.settled
        self._settled[trial.stage] += trial.status.settled
        self._trials[record_id] = trial

    def _score(self, trial: _Trial, value: float | None) -> None:
        if value is None:
            return
        better = max if self.mode == "max" else min
        trial.best = value if trial.best is None else better(trial.best, value)

    def _label(self, record: TrialRecord) -> str:
        return units.level(record.level, self.levels[0])
