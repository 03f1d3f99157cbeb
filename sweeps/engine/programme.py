"""The programme: what to run next."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from statistics import mean
from typing import Any

from analysis.records import Stage, Status, TrialRecord
from sweeps.engine.also import best
from sweeps.engine.asked import Asked
from sweeps.engine.job import Job, key
from sweeps.engine.population import Population
from sweeps.engine.search import PBT
from sweeps.engine.spec import Sweep
from sweeps.engine.study import LevelStudy
from sweeps.engine.winner import Winner
from trainables.describe import Scalar


@dataclass(slots=True)
class _Level:
    """One compared level: its study, how many heats it gets and how many were dealt to it."""

    values: Mapping[str, Scalar]
    study: LevelStudy | Population | None
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
        self._settled = {record.id: self._brief(record) for record in records if _settled(record)}
        self._again = [record for record in records if not record.status.settled]
        self._dealt_before = {record.id: record.number for record in self._again if record.number is not None}
        self._live: dict[str, Job] = {}
        self._numbers = 1 + max((record.number or 0 for record in records), default=-1)
        self._levels: dict[str, _Level] = {}
        for values in sweep.levels():
            self._levels[key(values)] = self._level(values, records)
        self._finals: list[Job] | None = None
        self._swept = False
        self._again = [record for record in self._again if self._wanted(record)]

    def _level(self, values: Mapping[str, Scalar], records: list[TrialRecord]) -> _Level:
        search = self._sweep.search_of(values)
        if search is None:
            return _Level(values, None)
        if isinstance(search, PBT):
            # It asks for all of its segments again, and is told at once of those that are there.
            return _Level(values, Population(self._sweep, values, search), wanted=self._sweep.heats(values))
        own = [record for record in records if record.stage is Stage.HEAT and dict(record.level) == dict(values)]
        heats = [
            record for record in own if record.until is None
        ]  # not a population's, if it was one that searched before
        settled = [record for record in heats if record.status.settled]
        study = LevelStudy(self._sweep, values, search, len(heats))
        for record in settled:
            study.add(record)
        wanted = self._sweep.heats(values, [record.point for record in heats])
        briefs = {record.id: self._settled[record.id] for record in settled}
        return _Level(values, study, wanted=wanted, dealt=len(heats), heats=briefs)

    def _wanted(self, record: TrialRecord) -> bool:
        """Whether an unsettled record is dealt as it is: finals are decided anew after the heats, segments are asked for again."""
        level = self._levels.get(key(record.level))
        heat = record.stage is Stage.HEAT and record.until is None
        return heat and level is not None and isinstance(level.study, LevelStudy)

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
        brief = self._settled[record.id] = self._brief(record)
        if job.stage is Stage.HEAT:
            self._tell(self._levels[key(job.level)], brief)

    def winner(self, level: Mapping[str, Scalar]) -> Winner | None:
        """What goes to the finals; None when no heat has a value.

        It is the best completed heat's point, else the best stopped one's; with a second goal the best in that one among those that
        are close enough to the best.
        """
        found = self._levels[key(level)]
        if found.study is None:
            return Winner(point=found.values)
        for status in (Status.COMPLETED, Status.STOPPED):
            heats = [record for record in found.heats.values() if record.status is status]
            if chosen := best(heats, self._sweep.task.goal, self._sweep.also):
                return Winner.of(chosen)
        return None

    def released(self) -> list[str]:
        """The heats whose checkpoints nothing will go on from, ended since the last call; all of them once finals are dealt."""
        over = list(self._settled) if self._finals is not None and not self._swept else []
        self._swept = self._finals is not None
        heats = [name for name in over if self._settled[name].stage is Stage.HEAT]
        return heats + [
            name for level in self._levels.values() if level.study is not None for name in level.study.released()
        ]

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
        if isinstance(level.study, LevelStudy):
            level.study.resume(record.id, record.point)
        return replace(self._heat(level, Asked(point=record.point)), number=record.number or 0)

    def _heat_next(self) -> Job | None:
        """A heat of the level that is furthest behind; one measured before is told to its search at once."""
        wanting = [level for level in self._levels.values() if level.dealt < level.wanted]
        while wanting:
            level = min(wanting, key=lambda level: level.dealt / level.wanted)
            if level.study is None or (level.dealt and self._budget_spent()):
                return None
            asked = level.study.ask()
            if asked is None:  # until more of its heats have ended
                wanting.remove(level)
                continue
            job = self._heat(level, asked)
            level.dealt += 1
            level.study.expect(job.id, asked)
            if job.id in self._settled:
                self._tell(level, self._settled[job.id])
            elif job.id not in self._live:
                return self._numbered(job)
            if level.dealt == level.wanted:
                wanting.remove(level)
        return None

    def _tell(self, level: _Level, record: TrialRecord) -> None:
        level.heats[record.id] = record
        if level.study is not None:
            level.study.tell(record)

    def _brief(self, record: TrialRecord) -> TrialRecord:
        """A record with what is still asked of its history, the epoch with the best value and the last one: a sweep of thousands of
        trials would fill the memory with the rest.

        The last one tells among how many costs were shared on average.
        """
        if not record.history:
            return record
        epochs = (record.best_epoch, record.history[-1]["epoch"])
        names = ("epoch", f"val/{self._sweep.task.goal.metric}", "seconds", "wall_seconds")
        rows = [row for row in record.history if row["epoch"] in epochs]
        history = [{name: row[name] for name in names if name in row} for row in rows]
        if any("shared" in row for row in record.history):
            history[-1]["shared"] = mean(row.get("shared", 1) for row in record.history)
        return replace(record, history=history)

    def _heat(self, level: _Level, asked: Asked) -> Job:
        return Job.of(
            self._sweep,
            stage=Stage.HEAT,
            level=level.values,
            point=asked.point,
            seed=self._sweep.seed,
            seeds=self._sweep.heat_seeds(),
            earlier=asked.earlier,
            until=asked.until,
            parent=asked.parent,
        )

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
        there = [(values, winner) for values, winner in winners if winner is not None]
        jobs = []
        for number in range(self._sweep.seeds):
            turn = number % max(1, len(there))
            for values, winner in there[turn:] + there[:turn]:
                seeds = self._sweep.final_seeds(number + 1, values)
                jobs.append(
                    Job.of(
                        self._sweep,
                        stage=Stage.FINAL,
                        level=values,
                        point=winner.point,
                        seed=self._sweep.seed + number + 1,
                        seeds=seeds,
                        earlier=winner.earlier,
                    )
                )
        return [job for job in jobs if job.id not in self._settled]

    def _numbered(self, job: Job) -> Job:
        """The job with the next number in the order of dealing; one that an earlier command had dealt keeps its own."""
        if job.id in self._dealt_before:
            return replace(job, number=self._dealt_before.pop(job.id))
        self._numbers += 1
        return replace(job, number=self._numbers - 1)

    def _budget_spent(self) -> bool:
        """True when another heat would take time that the finals need."""
        budget = self._sweep.budget_seconds
        if budget is None:
            return False
        return self._spent() + self._finals_seconds() > budget

    def _finals_seconds(self) -> float:
        """Wall seconds that the finals and one heat more will take, from what heats have taken; the mean over levels.

        Of heats that were trained together each took its share. So do finals, but for those that are timed. What they take to look
        at the test set, which heats do not, is reckoned as what heats took to validate.
        """
        heats = [
            (record, self._sweep.recipe.epochs * (record.ended - record.started + _validating(record)) / record.epochs)
            for level in self._levels.values()
            for record in level.heats.values()
            if record.started is not None and record.ended is not None and record.history
        ]
        if not heats:
            return 0.0
        alone = mean(seconds for _, seconds in heats)
        shared = mean(seconds / record.history[-1].get("shared", 1) for record, seconds in heats)
        timed = min(self._sweep.seeds, self._sweep.timed_finals)
        slots, more = (
            math.ceil(len(self._levels) * finals / self._concurrency) for finals in (timed, self._sweep.seeds - timed)
        )
        return float((1 + slots) * alone + more * shared)


def _validating(record: TrialRecord) -> float:
    """Seconds that a trial took beside its training; 0 where its lane does not know them."""
    last = record.history[-1]
    wall, training = last.get("wall_seconds"), last.get("seconds")
    return wall - training if wall is not None and training is not None else 0.0


def _settled(record: TrialRecord) -> bool:
    """Whether a record need not be run again; a segment that was left before its end must be."""
    if record.until is None or record.status is not Status.STOPPED:
        return record.status.settled
    return bool(record.history) and record.history[-1]["epoch"] == record.until
