"""Which jobs are trained together."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from analysis.front import COSTS
from analysis.records import Stage
from sweeps.engine.job import Job
from sweeps.engine.pools import Pools, Shape
from trainables.fused.structure import structure, unfit

if TYPE_CHECKING:
    from sweeps.engine.race import Race
    from sweeps.engine.spec import Sweep

SIZE = 32
"""Members of a pack of which nothing has been measured."""

LEAST = 4
"""Fewer members than these make no pack: they train faster one by one."""


class Packer:
    """Takes jobs from the race and deals them out in packs that have one structure, as even as they come.

    ``sizes`` says of a structure how many members a pack has at most; those that are not in it have ``SIZE``. A job that cannot be
    trained with others, or had better not be, is a pack of its own. Jobs wait until there are enough for as many packs as are
    trained side by side, so that all who work are given as much, or until the race has no other.
    """

    def __init__(self, race: Race, *, sizes: Mapping[str, int], pools: Pools) -> None:
        self._race, self._sizes, self._pools, self._lanes = race, sizes, pools, pools.at_once
        self._waiting: dict[Shape, list[Job]] = {}
        self._ready: deque[tuple[Shape | None, list[Job]]] = deque()
        levels = race.sweep.levels()
        self._levels = len(levels)
        self._freely = race.sweep.budget_seconds is None and not any(map(race.sweep.learns, levels))

    def next(self) -> list[Job]:
        """The next pack, begun; empty when there is none now."""
        while pack := self._drawn():
            if begun := [job for job in pack if self._race.begin(job)]:
                return begun
        return []

    def more(self, like: Job, members: int) -> list[Job]:
        """Jobs, begun, that may join a pack of jobs ``like`` this one that has so many members left, as many as there are now.

        A full pack costs less a trial than what is left of one. The last jobs are shared out among all who work. Where it matters
        in which order jobs are dealt, since time is limited or a search learns, a pack that is ready goes before this one's next.
        """
        alike = self._alike(like)
        places = self._most(alike) - members if alike is not None else 0
        if alike is None or places <= 0:
            return []
        waiting, given = self._waiting.pop(alike, []), places
        if self._freely:
            waiting = [*(job for shape, pack in self._ready if shape == alike for job in pack), *waiting]
            self._ready = deque(entry for entry in self._ready if entry[0] != alike)
        wanted = places * self._lanes if self._freely else places
        # Levels are dealt in turns: it takes so many jobs at least, and twice as many are not waited for.
        for _ in range(2 * wanted * self._levels):
            if len(waiting) >= wanted or (self._ready and not self._freely):
                break
            job = self._race.draw()
            if job is None:
                given = min(places, math.ceil(len(waiting) / self._lanes))
                break
            if (other := self._alike(job)) == alike:
                waiting.append(job)
            else:
                self._take(job, other)
        if waiting[given:]:
            self._waiting[alike] = waiting[given:]
        return [job for job in waiting[:given] if self._race.begin(job)]

    def _drawn(self) -> list[Job]:
        while not self._ready and (job := self._race.draw()) is not None:
            self._take(job, self._alike(job))
        if not self._ready:
            for alike in [*self._waiting]:
                self._deal(alike)
        return self._ready.popleft()[1] if self._ready else []

    def _take(self, job: Job, alike: Shape | None) -> None:
        """Let a job wait for others, or make it ready, with all that have waited when they are enough."""
        if alike is None:
            self._ready.append((None, [job]))
            return
        self._waiting.setdefault(alike, []).append(job)
        if len(self._waiting[alike]) >= self._enough(alike):
            self._deal(alike)

    def _deal(self, alike: Shape) -> None:
        packs = parted(self._waiting.pop(alike), self._sizes.get(alike[1], SIZE), self._lanes)
        self._ready.extend((alike, pack) for pack in packs)

    def _most(self, alike: Shape) -> int:
        """Members of a pack that others join: its share of what may be under way at a time."""
        return int(min(self._sizes.get(alike[1], SIZE), self._pools.most(alike) / self._lanes))

    def _enough(self, alike: Shape) -> float:
        """How many jobs of a structure are waited for: a full pack for all lanes, fewer heats of searches that learn."""
        return min(self._sizes.get(alike[1], SIZE) * self._lanes, self._pools.most(alike))

    def _alike(self, job: Job) -> Shape | None:
        """What the jobs of one pack have in common; None for one that is trained alone.

        So is one whose process has died twice: if it was the cause, it costs no other a third time.
        """
        sweep = self._race.sweep
        recipe = sweep.resolved(job.point, job.seeds)
        if job.earlier or job.until is not None or next(unfit(recipe), None) or next(_watched(sweep), None):
            return None
        if self._race.deaths(job.id) > 1:
            return None
        if job.stage is Stage.FINAL and job.seed - sweep.seed <= sweep.timed_finals:
            return None
        alike = job.stage, structure(sweep.task, recipe)
        worth = self._pools.worth_a_pack(alike, learned_from=sweep.learns(job.level))
        return alike if worth and self._sizes.get(alike[1], SIZE) > 1 else None


def parted(jobs: Sequence[Job], most: int, lanes: int) -> list[list[Job]]:
    """Packs of at most ``most`` jobs and as many as there are lanes, if that leaves each enough members; of even sizes.

    Fewer than ``LEAST`` jobs are dealt one by one.
    """
    if len(jobs) < LEAST:
        return [[job] for job in jobs]
    count = max(math.ceil(len(jobs) / most), min(lanes, len(jobs) // LEAST), 1)
    least, larger = divmod(len(jobs), count)
    packs, begin = [], 0
    for number in range(count):
        end = begin + least + (number < larger)
        packs.append(list(jobs[begin:end]))
        begin = end
    return packs


def _watched(sweep: Sweep) -> Iterator[str]:
    """What the sweep wants of each trial that only a trial alone can give."""
    if sweep.profile is not None or sweep.log_every is not None or sweep.keep != type(sweep.keep)():
        yield "profile, log_every and keep ask for what only a trial alone can give"
    if sweep.also is not None and sweep.also.goal.metric in COSTS:
        yield f"also asks for {sweep.also.goal.metric}, which trials of a pack share"


def why_alone(sweep: Sweep) -> list[str]:
    """Why trials of this sweep are not fused, a sentence for each reason; nothing where all are."""
    found: dict[str, None] = dict.fromkeys(_watched(sweep))
    for level in sweep.levels():
        for end in range(sweep.ends):
            found |= dict.fromkeys(unfit(sweep.corner(level, end)))
    return list(found)


def all_alone(sweep: Sweep) -> bool:
    """Whether none of a sweep's trials can be fused."""
    corners = (sweep.corner(level, end) for level in sweep.levels() for end in range(sweep.ends))
    return next(_watched(sweep), None) is not None or all(next(unfit(corner), None) is not None for corner in corners)
