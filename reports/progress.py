"""How a sweep under way stands, level by level, from what its trials tell."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from analysis import units
from analysis.records import Row, Stage, Status, TrialRecord
from reports.curves import number
from reports.pulses import Pulse


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


@dataclass(frozen=True, kw_only=True, slots=True)
class UnderWay:
    """A trial that is trained now, by the last that it told: ``epoch`` counts parts of one, ``seconds`` are those of an epoch."""

    id: str
    name: str
    since: float
    epoch: float
    epochs: int
    loss: float | None
    value: float | None
    lr: float | None
    seconds: float | None
    validating: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Leader:
    """The heat with the best validation value so far, and what is searched at its point."""

    name: str
    value: float
    point: str


@dataclass(slots=True)
class _Trial:
    """``epochs`` are its own, those ``before`` this command among them; a segment ``begins`` where another left off.

    ``row`` is the last epoch, ``part`` what is done of the one after it. ``since`` is when it was begun here.
    """

    label: str
    stage: Stage
    status: Status
    epochs: int = 0
    before: int = 0
    best: float | None = None
    begins: int = 0
    cut: bool = False
    name: str = ""
    point: str = ""
    since: float = 0.0
    row: Row = field(default_factory=dict)
    seconds: float | None = None
    pulse: Pulse | None = None

    @property
    def ahead(self) -> Pulse | None:
        """What it has said of the epoch after the last one that has ended."""
        current = self.pulse is not None and self.pulse.epoch == self.epochs + self.begins + 1
        return self.pulse if current else None

    @property
    def part(self) -> float:
        """What is done of that epoch."""
        return self.ahead.part if self.ahead is not None else 0.0


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

    def began(self, record: TrialRecord, since: float = 0.0) -> None:
        """A trial starts, or goes on from the epochs that its history holds, at a moment on any clock."""
        begins = record.earlier[-1]["until"] if record.parent is not None else 0
        at = max((int(row.get("epoch", 0)) - begins for row in record.history), default=0)
        trial = _Trial(
            label=self._label(record),
            stage=record.stage,
            status=Status.RUNNING,
            epochs=at,
            before=at,
            begins=begins,
            name=f"{self._label(record)} {_which(record)}",
            point=_point(record),
            since=since,
            row=record.history[-1] if record.history else {},
        )
        self._put(record.id, trial)

    def told(self, record_id: str, row: Row) -> None:
        """An epoch of a trial has ended; one of a trial that never began is no one's and left out."""
        trial = self._trials.get(record_id)
        if trial is None:
            return
        wall, before = number(row.get("wall_seconds")), number(trial.row.get("wall_seconds"))
        trial.seconds = (
            wall - (before or 0.0) if wall is not None and (before or len(trial.row) == 0) else trial.seconds
        )
        trial.row = row
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
            name=f"{self._label(record)} {_which(record)}",
            point=_point(record),
        )
        trial.best = None if known is None else known.best
        self._score(trial, number(record.metrics.get(f"val/{self.metric}")))
        self._put(record.id, trial)

    def pulsed(self, record_id: str, pulse: Pulse | None) -> None:
        """How far the epoch under way has come."""
        trial = self._trials.get(record_id)
        if trial is not None:
            trial.pulse = pulse

    def seconds(self, record_id: str) -> float | None:
        """What the last epoch of a trial took; None where that is not known."""
        trial = self._trials.get(record_id)
        return trial.seconds if trial is not None else None

    def under_way(self) -> list[UnderWay]:
        """The trials that are trained now, in the order in which they were begun."""
        return [_under_way(name, trial, self) for name, trial in self._trials.items() if trial.status is Status.RUNNING]

    def leader(self) -> Leader | None:
        """The best heat so far; of equal ones the first."""
        sign = 1.0 if self.mode == "max" else -1.0
        heats = [t for t in self._trials.values() if t.stage is Stage.HEAT and t.best is not None]
        best = max(heats, key=lambda trial: sign * (trial.best or 0.0), default=None)
        return None if best is None else Leader(name=best.name, value=best.best or 0.0, point=best.point)

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
        under_way = [trial for trial in self._trials.values() if trial.status is Status.RUNNING]
        parts = sum(trial.part for trial in under_way)
        trained = sum(trial.epochs - trial.before for trial in self._trials.values()) + parts
        # Where epochs are so long that they tell of their parts, a tenth of one is a pace.
        if trained < (0.1 if parts else 2) or elapsed <= 0:
            return None
        heats = [t.epochs for t in self._trials.values() if t.stage is Stage.HEAT and t.status.settled]
        usual = sum(heats) / len(heats) if heats else float(self.epochs)
        ahead = sum(
            max((usual if trial.stage is Stage.HEAT else float(self.epochs)) - trial.epochs - trial.part, 0.0)
            for trial in under_way
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


def _under_way(record_id: str, trial: _Trial, progress: Progress) -> UnderWay:
    row, told = trial.row, trial.ahead
    return UnderWay(
        id=record_id,
        name=trial.name,
        since=trial.since,
        epoch=trial.epochs + trial.begins + trial.part,
        epochs=progress.epochs,
        loss=told.loss if told is not None and told.loss is not None else number(row.get("train/loss")),
        value=number(row.get(f"val/{progress.metric}")),
        lr=told.lr if told is not None and told.lr is not None else number(row.get("lr")),
        seconds=trial.seconds if trial.seconds is not None or told is None else told.seconds,
        validating=told is not None and told.validating,
    )


def _which(record: TrialRecord) -> str:
    """What tells a trial from the others of its level: ``final s3``, ``heat t017``."""
    if record.stage is Stage.FINAL or record.number is None:
        return f"{record.stage.value} s{record.seed}"
    return f"{record.stage.value} t{record.number:03d}"


def _point(record: TrialRecord) -> str:
    """What is searched at its point: ``lr 3.1e-3, momentum 0.9``."""
    searched = {path: value for path, value in record.point.items() if path not in record.level}
    short = {
        path: f"{value:.2g}" if isinstance(value, float) else units.label(value) for path, value in searched.items()
    }
    return ", ".join(f"{units.name(path)} {value}" for path, value in short.items())
