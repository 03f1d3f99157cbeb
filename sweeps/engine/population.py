"""The population of one level: members that are trained in segments and learn from each other."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

from analysis.records import Status, TrialRecord, Turn
from sweeps.engine.asked import Asked
from sweeps.engine.search import PBT
from trainables.describe import Scalar
from trainables.seeds import derived

if TYPE_CHECKING:
    from sweeps.engine.spec import Sweep


@dataclass(slots=True)
class _Member:
    """A segment of a member: what was asked, the job that it became, and what it reached; the higher the better."""

    asked: Asked
    job: str | None = None
    value: float | None = None


class Population:
    """Segments of one level, generation by generation; it holds no more than the ledger says.

    Every draw is seeded by generation and place, so a population that is asked again, and told of the same records, asks the same.
    """

    def __init__(self, sweep: Sweep, level: Mapping[str, Scalar], search: PBT) -> None:
        self._search, self._domain = search, sweep.domain(level)
        self._ends = search.ends(sweep.recipe.epochs)
        self._metric = f"val/{sweep.task.goal.metric}"
        self._sign = 1.0 if sweep.task.goal.mode == "max" else -1.0
        self._seed = ("population", sweep.seed, str(sorted(level.items())))
        self._generation = 0
        self._dealt = 0
        self._members = [_Member(self._first(place)) for place in range(search.trials)]
        self._begun_from: list[str] = []
        self._released: list[str] = []

    def ask(self) -> Asked | None:
        """The next segment; None when all of this generation are dealt, and some of them under way."""
        if self._dealt == len(self._members) and not (self._whole() and self._bred()):
            return None
        self._dealt += 1
        return self._members[self._dealt - 1].asked

    def expect(self, job_id: str, asked: Asked) -> None:
        """Remember which job a segment became; several may have become one."""
        next(member for member in self._members if member.asked is asked).job = job_id

    def report(self, job_id: str, epoch: int, value: float) -> None:
        """What counts is the end of a segment."""

    def tell(self, record: TrialRecord) -> None:
        """Take in what a segment reached; one that diverged or was lost is behind all others."""
        whole = record.status in (Status.COMPLETED, Status.STOPPED) and record.history
        last = record.history[-1].get(self._metric) if whole else None
        value = self._sign * last if last is not None and math.isfinite(last) else -math.inf
        for member in self._members:
            if member.job == record.id:
                member.value = value
        last = self._generation == len(self._ends) - 1
        if record.status is Status.DIVERGED or (last and record.status.settled):
            self._released.append(record.id)
        if last and self._whole():
            self._released += self._begun_from

    def released(self) -> list[str]:
        """The jobs, told since the last call, whose checkpoints nothing will go on from."""
        released, self._released = self._released, []
        return released

    def _first(self, place: int) -> Asked:
        rng = Random(derived(*self._seed, 0, place))
        return Asked(point=self._search.begun(self._domain, rng), until=self._ends[0])

    def _whole(self) -> bool:
        """True when all of this generation have been told of."""
        return all(member.value is not None for member in self._members)

    def _bred(self) -> bool:
        """Put the next generation in the place of this one; False when there is none, or nobody to go on from."""
        alive = any(member.value != -math.inf for member in self._members)
        if self._generation == len(self._ends) - 1 or not alive:
            return False
        before, values = self._members, [member.value or 0.0 for member in self._members]
        ranked = sorted(range(len(before)), key=lambda place: (-values[place], place))
        taken = self._search.taken_over
        best = [place for place in ranked[:taken] if values[place] > -math.inf]
        worst = {*ranked[-taken:], *(place for place in ranked if values[place] == -math.inf)}
        self._generation += 1
        self._members = [self._next(place, before, best, again=place in worst) for place in range(len(before))]
        self._dealt = 0
        self._released += self._begun_from
        self._begun_from = [member.job for member in before if member.job is not None]
        return True

    def _next(self, place: int, before: list[_Member], best: list[int], *, again: bool) -> _Member:
        """The next segment of the member at a place, its own or one that goes on from a better one."""
        rng = Random(derived(*self._seed, self._generation, place))
        source = before[rng.choice(best) if again else place]
        point = source.asked.point
        turn = Turn(until=self._ends[self._generation - 1], point=point)
        return _Member(
            Asked(
                point=self._search.explored(self._domain, point, rng) if again else point,
                earlier=(*source.asked.earlier, turn),
                until=self._ends[self._generation],
                parent=source.job,
            )
        )
