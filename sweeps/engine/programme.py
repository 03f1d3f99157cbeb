"""The programme: what to run next."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from analysis.records import Stage, Status, TrialRecord
from sweeps.engine.also import best
from sweeps.engine.job import Job, key
from sweeps.engine.spec import Sweep
from sweeps.engine.study import LevelStudy
from trainables.describe import Scalar


@dataclass(slots=True)
class _Level:
    """One compared level: its study, how many heats it gets and how many were dealt to it."""

    values: Mapping[str, Scalar]
    study: LevelStudy | None
    wanted: int = 0
    dealt: int = 0
    heats: dict[str, TrialRecord] = field(default_factory=dict)


class Programme:
    """Deals heats evenly over the levels, then finals seed by seed over all levels; fed by the ledger on resume.

    All finals come after all heats, interleaved, so that their seconds are measured under the same load. What the ledger has
    settled is not dealt again; what was under way, or was lost, comes first. ``spent()`` is asked for the seconds since the start
    where the sweep has a budget.
    """

    def __init__(
        self, sweep: Sweep, known: Iterable[TrialRecord], *, spent: Callable[[], float], concurrency: int
    ) -> None:
        self._sweep, self._spent, self._concurrency = sweep, spent, concurrency
        records = list(known)
        self._settled = {record.id: record for record in records if record.status.settled}
        self._again = [record for record in records if not record.status.settled]
        self._live: dict[str, Job] = {}
        self._numbers = 1 + max((record.number or 0 for record in records), default=-1)
        self._levels: dict[str, _Level] = {}
        for values in sweep.levels():
            self._levels[key(values)] = self._level(values, records)
        self._finals: list[Job] | None = None
        self._again = [record for record in self._again if self._wanted(record)]

    def _level(self, values: Mapping[str, Scalar], records: list[TrialRecord]) -> _Level:
        heats = [record for record in records if record.stage is Stage.HEAT and dict(record.level) == dict(values)]
        if self._sweep.search is None:
            return _Level(values, None)
        level = _Level(
            values,
            LevelStudy(self._sweep, values, len(heats)),
            wanted=self._sweep.heats(values, [record.point for record in heats]),
            dealt=len(heats),
        )
        for record in heats:
            if record.status.settled:
                level.study.add(record)  # type: ignore[union-attr]
                level.heats[record.id] = record
        return level

    def _wanted(self, record: TrialRecord) -> bool:
        """Whether an unsettled record is still part of the question: finals are decided anew once the heats are done."""
        return record.stage is Stage.HEAT and key(record.level) in self._levels

    def next(self) -> Job | None:
        """The next job, or None when there is none now; see ``done``."""
        job = self._again_next() or self._heat_next() or self._final_next()
        if job is not None:
            self._live[job.id] = job
        return job

    @property
    def done(self) -> bool:
        """True when nothing is under way and nothing is left to deal."""
        return not self._live and not self._again and self._finals is not None and not self._finals

    def reported(self, job_id: str, row: Mapping[str, Any]) -> None:
        """Tell the search what a heat has reached."""
        job = self._live[job_id]
        level = self._levels[key(job.level)]
        value = row.get(f"val/{self._sweep.task.goal.metric}")
        if job.stage is Stage.HEAT and level.study is not None and value is not None:
            level.study.report(job_id, row["epoch"], value)

    def ended(self, record: TrialRecord) -> None:
        """Take in how a job ended."""
        job = self._live.pop(record.id)
        self._settled[record.id] = record
        if job.stage is Stage.HEAT:
            level = self._levels[key(job.level)]
            level.heats[record.id] = record
            if level.study is not None:
                level.study.tell(record)

    def winner(self, level: Mapping[str, Scalar]) -> Mapping[str, Scalar] | None:
        """The point that goes to the finals; None when no heat has a value.

        It is the best completed heat's, else the best stopped one's; with a second goal the best in that one among those that are
        close enough to the best.
        """
        found = self._levels[key(level)]
        if found.study is None:
            return found.values
        for status in (Status.COMPLETED, Status.STOPPED):
            heats = [record for record in found.heats.values() if record.status is status]
            if chosen := best(heats, self._sweep.task.goal, self._sweep.also):
                return chosen.point
        return None

    def planned(self) -> dict[str, int]:
        """Trials in all: heats and finals."""
        heats = sum(level.wanted for level in self._levels.values())
        return {"heats": heats, "finals": len(self._levels) * self._sweep.seeds}

    def heats(self) -> dict[str, int]:
        """Heats dealt so far, by level."""
        return {name: level.dealt for name, level in self._levels.items()}

    def _again_next(self) -> Job | None:
        """A heat that was under way, or lost, when an earlier command ended."""
        if not self._again:
            return None
        record = self._again.pop(0)
        level = self._levels[key(record.level)]
        if level.study is not None:
            level.study.resume(record.id, record.point)
        job = self._job(record.stage, record.level, record.point, record.seed)
        return replace(job, number=record.number or 0)

    def _heat_next(self) -> Job | None:
        """A heat of the level that has had the fewest; a point measured before is told to its search at once."""
        while True:
            wanting = [level for level in self._levels.values() if level.dealt < level.wanted]
            level = min(wanting, key=lambda level: level.dealt, default=None)
            if level is None or level.study is None or (level.dealt and self._budget_spent()):
                return None
            point, trial = level.study.ask()
            job = self._job(Stage.HEAT, level.values, point, self._sweep.seed)
            level.dealt += 1
            level.study.expect(job.id, trial)
            if job.id in self._settled:
                level.study.tell(self._settled[job.id])
            elif job.id not in self._live:
                return self._numbered(job)

    def _final_next(self) -> Job | None:
        """The next final, once the last heat is in."""
        if self._finals is None:
            if any(job.stage is Stage.HEAT for job in self._live.values()):
                return None
            self._finals = self._all_finals()
        return self._numbered(self._finals.pop(0)) if self._finals else None

    def _all_finals(self) -> list[Job]:
        """Every final that is not in the ledger yet, seed by seed; each seed begins with another level.

        So no level always runs first, on a cold worker, nor always beside the same neighbour.
        """
        winners = [(level.values, self.winner(level.values)) for level in self._levels.values()]
        there = [(values, point) for values, point in winners if point is not None]
        jobs = []
        for number in range(self._sweep.seeds):
            turn = number % max(1, len(there))
            for values, point in there[turn:] + there[:turn]:
                jobs.append(self._job(Stage.FINAL, values, point, self._sweep.seed + number + 1))
        return [job for job in jobs if job.id not in self._settled]

    def _job(self, stage: Stage, level: Mapping[str, Scalar], point: Mapping[str, Scalar], seed: int) -> Job:
        seeds = self._sweep.heat_seeds() if stage is Stage.HEAT else self._sweep.final_seeds(seed - self._sweep.seed)
        return Job.of(self._sweep, stage=stage, level=level, point=point, seed=seed, seeds=seeds)

    def _numbered(self, job: Job) -> Job:
        """The job with the next number in the order of dealing."""
        self._numbers += 1
        return replace(job, number=self._numbers - 1)

    def _budget_spent(self) -> bool:
        """True when another heat would take time that the finals need."""
        budget = self._sweep.budget_seconds
        if budget is None:
            return False
        seconds = self._trial_seconds()
        slots = math.ceil(len(self._levels) * self._sweep.seeds / self._concurrency) + 1
        return self._spent() + slots * seconds > budget

    def _trial_seconds(self) -> float:
        """Wall seconds of a trial run to its end, from what has been measured; the mean over levels."""
        per_epoch = [
            (record.ended - record.started) / record.epochs
            for level in self._levels.values()
            for record in level.heats.values()
            if record.started is not None and record.ended is not None and record.epochs
        ]
        return self._sweep.recipe.epochs * sum(per_epoch) / len(per_epoch) if per_epoch else 0.0
