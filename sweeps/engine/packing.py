"""Which jobs are trained together."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from analysis.records import Stage
from sweeps.engine.job import Job
from sweeps.engine.search import PBT
from trainables.fused.structure import structure, unfit

if TYPE_CHECKING:
    from sweeps.engine.race import Race
    from sweeps.engine.spec import Sweep
    from trainables.describe import Scalar

SIZE = 32
"""Members of a pack of which nothing has been measured."""

LEAST = 4
"""Fewer members than these make no pack: they train faster one by one."""

LEARNING_SHARE = 4
"""A search that learns from its heats gets them in so many rounds at least."""


class Packer:
    """Takes jobs from the race and deals them out in packs that have one structure, as even as they come.

    ``sizes`` says of a structure how many members a pack has at most; those that are not in it have ``SIZE``. A job that cannot be
    trained with others, or had better not be, is a pack of its own. Enough is taken at once for ``lanes`` packs, so that all who
    work are given as much.
    """

    def __init__(self, race: Race, *, sizes: Mapping[str, int], lanes: int) -> None:
        self._race, self._sizes, self._lanes = race, sizes, lanes
        self._ready: deque[list[Job]] = deque()

    def next(self) -> list[Job]:
        """The next pack; empty when there is none now."""
        if not self._ready:
            self._take()
        return self._ready.popleft() if self._ready else []

    def _take(self) -> None:
        """Draw jobs until one structure has enough of them for all lanes, or there are no more."""
        found: dict[tuple[Stage, str], list[Job]] = {}
        while (job := self._race.next()) is not None:
            alike = self._alike(job)
            if alike is None:
                self._ready.append([job])
                continue
            jobs = found.setdefault(alike, [])
            jobs.append(job)
            if len(jobs) >= self._most(job, alike[1]) * self._lanes:
                break
        for (_, shape), jobs in found.items():
            self._ready.extend(parted(jobs, self._most(jobs[0], shape), self._lanes))

    def _alike(self, job: Job) -> tuple[Stage, str] | None:
        """What the jobs of one pack have in common; None for one that is trained alone."""
        sweep = self._race.sweep
        recipe = sweep.resolved(job.point, job.seeds)
        if job.earlier or job.until is not None or next(unfit(recipe), None) is not None or _watched(sweep):
            return None
        if job.stage is Stage.FINAL and job.seed - sweep.seed <= sweep.timed_finals:
            return None
        alike = structure(sweep.task, recipe)
        return (job.stage, alike) if self._sizes.get(alike, SIZE) > 1 else None

    def _most(self, job: Job, alike: str) -> int:
        """Members of a pack."""
        size = self._sizes.get(alike, SIZE)
        return size if job.stage is not Stage.HEAT else min(size, heats_at_once(self._race.sweep, job.level))


def heats_at_once(sweep: Sweep, level: Mapping[str, Scalar]) -> int:
    """Heats of a level that may share a pack: some for a search that learns, which must hear of them before it asks for others."""
    search, heats = sweep.search_of(level), sweep.heats(level)
    if isinstance(search, PBT):
        return 1
    return max(LEAST, heats // LEARNING_SHARE) if search is not None and search.learns else heats * len(sweep.levels())


def parted(jobs: Sequence[Job], most: int, lanes: int) -> list[list[Job]]:
    """Packs of at most ``most`` jobs and as many as there are lanes, if that leaves each enough members; of even sizes."""
    count = max(math.ceil(len(jobs) / most), min(lanes, len(jobs) // LEAST), 1)
    least, larger = divmod(len(jobs), count)
    packs, begin = [], 0
    for number in range(count):
        end = begin + least + (number < larger)
        packs.append(list(jobs[begin:end]))
        begin = end
    return packs


def _watched(sweep: Sweep) -> bool:
    """Whether the sweep wants of each trial what only a trial alone can give."""
    return sweep.profile is not None or sweep.log_every is not None or sweep.keep != type(sweep.keep)()


def why_alone(sweep: Sweep) -> list[str]:
    """Why trials of this sweep are not fused, a sentence for each reason; nothing where all are."""
    found: dict[str, None] = {}
    if _watched(sweep):
        found["profile, log_every and keep ask for what only a trial alone can give"] = None
    for level in sweep.levels():
        for end in range(sweep.ends):
            found |= dict.fromkeys(unfit(sweep.corner(level, end)))
    return list(found)
