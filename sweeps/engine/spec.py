"""The sweep: one question as a declaration."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from sweeps.engine import space, vary
from sweeps.engine.also import Also
from sweeps.engine.errors import QuestionError
from sweeps.engine.misused import misused
from sweeps.engine.search import PBT, Domain, Rivals, Search
from sweeps.engine.stopping import EarlyStop
from sweeps.engine.vary import DRAWN, VARY
from trainables import PerWorker, Recipe, Seeds, Task, steps
from trainables.describe import Scalar
from trainables.keep import Keep
from trainables.profiler import Profile

WORKERS = "resources.workers"
"""The path of the number of workers where it is compared."""

SEARCH = "search"
"""What the path of anything compared within the search begins with."""

SHARE = 0.0001
"""The smallest part of a GPU that can be asked for."""

TIMED = 8
"""Finals of a level that are trained alone where the others are fused, so that their seconds are their own."""

LANES = ("auto", "local", "solo", "fused", "crew", "gang")


@dataclass(frozen=True, kw_only=True, slots=True)
class Resources:
    """How many workers a trial has, and what each of them takes of a machine.

    ``cpus`` are a worker's threads too. ``gpus`` None is one where there are any, 0 none; a part of one shares it. ``gpu_type`` is
    the name that Ray gives an accelerator ("A100", "T4"); ``memory_bytes`` is set aside, not enforced. ``workers`` may be compared
    by ``each``: every count is then a level.
    """

    workers: int = 1
    cpus: int = 1
    gpus: float | None = None
    gpu_type: str | None = None
    memory_bytes: int | None = None

    RULES: ClassVar[Mapping[str, str]] = {
        "workers": "must be a whole number from 1; 1 trains in one process",
        "cpus": "must be a whole number from 1; write cpus=1",
        "gpus": "must be a number from 0; 0 trains on the CPU, None takes one if there is one",
        "gpu_type": 'must be the name that Ray gives a GPU, such as gpu_type="A100", or None',
        "memory_bytes": "must be a whole number from 1, such as memory_bytes=8_000_000_000, or None",
    }

    def conflicts(self, workers: int) -> Iterator[str]:
        """What Ray would refuse, or never place, for trials of up to so many workers."""
        for name, amount in (("cpus", self.cpus), ("memory_bytes", self.memory_bytes)):
            if amount is not None and (not isinstance(amount, int) or isinstance(amount, bool) or amount < 1):
                yield f"resources.{name} {amount!r} must be a whole number from 1"
        gpus = self.gpus
        if gpus is not None and (
            isinstance(gpus, bool) or not isinstance(gpus, int | float) or not 0 <= gpus < math.inf
        ):
            yield f"resources.gpus {gpus!r} must be a number from 0; 0 trains on the CPU, None takes one if there is one"
        elif gpus is not None and gpus > 1 and gpus != int(gpus):
            yield f"resources.gpus {gpus:g} must be whole above 1: a worker has whole devices or a part of one"
        elif gpus is not None and 0 < gpus < SHARE:
            yield f"resources.gpus {gpus:g} must be at least {SHARE:g}, the smallest part of a device that Ray deals out"
        elif gpus is not None and 0 < gpus <= 0.5 and workers > 1:
            yield (
                f"resources.gpus {gpus:g} puts workers of one trial on one device, which NCCL refuses; "
                "give each a device of its own by gpus=1, or take one worker"
            )
        elif self.gpu_type is not None and (not self.gpu_type or gpus == 0):
            yield f"resources.gpu_type {self.gpu_type!r} names no GPU for gpus {gpus!r}; set gpus=1, or take gpu_type out"


@dataclass(frozen=True, kw_only=True, slots=True)
class Sweep:
    """A question: a recipe with holes on a task, how to search, how many finals, what their seeds draw.

    Every level of the ``each`` holes is tuned by ``search`` on its own, with ``early_stop`` among its own trials; the best point
    of each is then run on ``seeds`` fresh seeds, the same for all levels, to the end. ``vary`` names what these seeds draw; the
    rest stays as in the heats. It may be compared, ``each(("init",), ("split",))``, without a search: each level then draws its
    own, which says how much of the spread is whose. ``timed`` finals of a level are trained alone, first, where the lane is
    ``fused``: as many as it takes to know the seconds to a target (8) where there is one, none where there is not. ``also`` is a
    second goal of the search. ``budget_seconds`` closes the heats in time for the finals.
    ``keep`` says what is kept on disk, ``log_every`` after how many steps loss and learning rate are noted within an epoch,
    ``tensorboard`` whether event files are written on the way, ``profile`` whether trials are timed by phase; none of them changes
    anything of the answer.
    """

    name: str
    task: Task
    recipe: Recipe
    search: Search | PBT | Rivals | None = None
    early_stop: EarlyStop | None = None
    also: Also | None = None
    seeds: int = 8
    seed: int = 0
    vary: tuple[str, ...] = DRAWN
    timed: int | None = None
    resources: Resources = Resources()
    lane: str = "auto"
    budget_seconds: float | None = None
    keep: Keep = Keep()
    log_every: int | None = None
    tensorboard: bool = False
    profile: Profile | None = None

    RULES: ClassVar[Mapping[str, str]] = {
        "name": 'must be a text that is usable as a folder\'s name, such as name="mine"',
        "task": "is {kind}; give it a Task, such as task=trainables.tasks.digits",
        "recipe": "is {kind}; give it a Recipe, such as recipe=Recipe(model=MLP())",
        "search": "is {kind}, not a search; write it as one, such as search=TPE(trials=16)",
        "early_stop": "is {kind}, not a rule for early stopping; write it as one, such as early_stop=ASHA(grace=1)",
        "also": 'is {kind}, not a second goal; write it as one, such as also=Also(goal=Minimise("cpu_seconds"))',
        "seeds": "must be a whole number from 1; write seeds=8",
        "seed": "must be a whole number; write seed=0",
        "timed": f"must be a whole number of finals from 0; None takes {TIMED} where there is a target",
        "resources": "is {kind}; write resources=Resources(cpus=1)",
        "lane": f"is unknown; there are {', '.join(LANES)}",
        "budget_seconds": "must be a number of seconds above 0, such as budget_seconds=600, or None",
        "keep": "is {kind}; write keep=Keep(top=1)",
        "log_every": "must be a whole number of steps from 1; None switches it off",
        "tensorboard": "must be True or False",
        "profile": "is {kind}; write profile=Profile(), or None",
    }

    @property
    def trials(self) -> int:
        """Heats of the level that has most; none where there is nothing to search."""
        return max((self.heats(level) for level in self.levels()), default=0)

    def heats(self, level: Mapping[str, Scalar], known: Sequence[Mapping[str, Scalar]] = ()) -> int:
        """Heats of a level in all, those at the points ``known`` already among them."""
        search = self.search_of(level)
        return search.heats(self.domain(level), known) if search is not None else 0

    def search_of(self, level: Mapping[str, Scalar]) -> Search | PBT | None:
        """The search of a level."""
        found = space.settled(self.search, level, SEARCH)
        return found.own() if isinstance(found, Rivals) else found

    def learns(self, level: Mapping[str, Scalar]) -> bool:
        """Whether what the search of a level asks for depends on what it has heard."""
        search = self.search_of(level)
        return search is not None and search.learns

    def domain(self, level: Mapping[str, Scalar]) -> Domain:
        """What the search of a level draws from."""
        goals = (self.task.goal.mode, *([self.also.goal.mode] if self.also is not None else []))
        return Domain.of(self.recipe, level, goals)

    def levels(self) -> list[dict[str, Scalar]]:
        """The compared levels, in the order in which the file names them; of those that are one configuration the first."""
        return list(self._standing().values())

    def equal(self) -> list[tuple[dict[str, Scalar], dict[str, Scalar]]]:
        """The levels that are not run, since another one is the same configuration: each with the level that stands for it."""
        standing = self._standing()
        found = [(level, standing[self._configuration(level)]) for level in self._named()]
        return [(level, first) for level, first in found if level != first]

    def _named(self) -> list[dict[str, Scalar]]:
        """All levels that the file names."""
        own = vary.named(self.vary), VARY
        return space.levels((self.recipe, ""), (self.resources, "resources"), (self.search, SEARCH), own)

    def _standing(self) -> dict[str, dict[str, Scalar]]:
        """The first level of each configuration."""
        found: dict[str, dict[str, Scalar]] = {}
        for level in self._named():
            found.setdefault(self._configuration(level), level)
        return found

    def _configuration(self, level: Mapping[str, Scalar]) -> str:
        """A level as text, its batch as the effective one: 256 on two workers is 128 a worker on two."""
        known, batch, workers = dict(level), self.recipe.batch_size, level.get(WORKERS, self.resources.workers)
        if isinstance(batch, space.Each) and isinstance(workers, int):
            taken = space.option(batch, level["batch_size"])
            if isinstance(taken, PerWorker) and isinstance(taken.samples, int):
                known["batch_size"] = taken.samples * workers
        return json.dumps(known, sort_keys=True)

    def factors(self) -> dict[str, list[Scalar]]:
        """Each compared factor by its path, with its levels."""
        found: dict[str, list[Scalar]] = {}
        for level in self._named():
            for path, value in level.items():
                values = found.setdefault(path, [])
                if value not in values:
                    values.append(value)
        return found

    def workers(self, point: Mapping[str, Scalar]) -> int:
        """Workers of a trial at this point."""
        return int(point.get(WORKERS, 0) or self.resources.workers)

    def beside(self, level: Mapping[str, Scalar]) -> list[Scalar]:
        """The values of a level that are not the recipe's: its workers, its search."""
        return [value for path, value in level.items() if path == WORKERS or path.partition(".")[0] == SEARCH]

    @property
    def timed_finals(self) -> int:
        """Finals of each level that are trained alone in the lane ``fused``; all others are anyhow."""
        usual = TIMED if self.task.goal.target is not None else 0
        return usual if self.timed is None else self.timed

    @property
    def compares_workers(self) -> bool:
        """True when the number of workers is a compared factor."""
        return isinstance(self.resources.workers, space.Each)

    @property
    def workers_matter(self) -> bool:
        """True when what is learned depends on the number of workers: where it is compared, or the batch grows with it."""
        return self.compares_workers or any(
            isinstance(self.corner(level, 0).batch_size, PerWorker) for level in self.levels()
        )

    @property
    def most_workers(self) -> int:
        """Workers of the largest trial."""
        return max((self.workers(level) for level in self.levels()), default=1)

    def searched(self) -> dict[str, space.Hole]:
        """The searched holes by path."""
        return {path: hole for path, hole in space.holes(self.recipe) if not isinstance(hole, space.Each)}

    def resolved(self, point: Mapping[str, Scalar], seeds: Seeds) -> Recipe:
        """The recipe with every hole filled from ``point`` (which holds the level too)."""

        return replace(space.resolve(self.recipe, lambda path, _: point[path]), seed=seeds)

    @property
    def ends(self) -> int:
        """How many corners show every end of a range and every option of a choice at least once."""
        return max([2, *(len(hole.options) for _, hole in space.holes(self.recipe) if isinstance(hole, space.Choice))])

    def corner(self, level: Mapping[str, Scalar], end: int) -> Recipe:
        """The recipe of a level with every searched hole at the low (0) or high (1) end of its range; a choice at that option."""
        return space.resolve(self.recipe, _corner(level, end))

    def drawn(self, level: Mapping[str, Scalar] | None = None) -> tuple[str, ...]:
        """What the seeds of a level's finals draw; without a level, what those of any do."""
        return vary.drawn(self.vary, level)

    def final_seeds(self, number: int, level: Mapping[str, Scalar] | None = None) -> Seeds:
        """What final ``number`` (from 1) of a level draws: the varied from its own seed, the rest as the heats did."""
        fresh, drawn = self.seed + number, self.drawn(level)
        return Seeds(**{name: fresh if name in drawn else self.seed for name in DRAWN})

    def heat_seeds(self) -> Seeds:
        """What every heat draws."""
        return Seeds(init=self.seed, order=self.seed, split=self.seed)

    def conflicts(self) -> Iterator[str]:
        """Everything that is wrong with the question, without loading data."""
        yield from self.task.conflicts()
        broken = [text for path, hole in space.holes(self.recipe) for text in space.conflicts(path, hole)]
        yield from broken
        if any(isinstance(hole, space.Each) for hole in _inside_choices(self.recipe)):
            yield "an each() stands inside a choice(): a compared factor must be there for every trial; move it outside"
        if self.recipe.seed != 0:
            yield f"the recipe's seed is {space.written(self.recipe.seed)}; a sweep deals the seeds itself, from Sweep(seed=…)"
        if self.name in ("", ".", "..") or any(character in self.name for character in "/\\\0"):
            yield f"name {self.name!r} must be usable as a folder's name; take out slashes"
        if self.seeds < 1:
            yield f"seeds {self.seeds} must be at least 1; 8 is usual, below 6 nothing can be told apart"
        if self.timed is not None and (not isinstance(self.timed, int) or self.timed < 0):
            yield f"timed {self.timed!r} must be a whole number of finals from 0; None takes {TIMED} where there is a target"
        if self.lane not in LANES:
            yield f"lane {self.lane!r} is unknown; there are {', '.join(LANES)}"
        if undrawn := list(vary.conflicts(self.vary, self.search)):
            yield from undrawn
            return  # without levels nothing else can be asked
        unusable = list(self._resources_conflicts())
        yield from unusable
        if not unusable:
            yield from self.resources.conflicts(self.most_workers)
        yield from self.keep.conflicts()
        yield from steps.conflicts(self.log_every)
        if self.profile is not None:
            yield from self.profile.conflicts()
        yield from self._search_conflicts()
        if not broken and not unusable:
            yield from self._recipe_conflicts()

    def _resources_conflicts(self) -> Iterator[str]:
        """What is wrong with holes in the resources, and with the lane for so many workers."""
        for path, hole in space.holes(self.resources, "resources"):
            if path != WORKERS or not isinstance(hole, space.Each):
                yield f"{path} is {space.describe(hole)}; of the resources only workers can vary, by each(1, 2, 4)"
                return
            yield from space.conflicts(path, hole)
        counts = [level[WORKERS] for level in self.levels()] if self.compares_workers else [self.resources.workers]
        whole = [count for count in counts if isinstance(count, int) and not isinstance(count, bool) and count > 0]
        if len(whole) < len(counts):
            wrong = next(count for count in counts if count not in whole or isinstance(count, bool))
            yield f"resources.workers {wrong!r} must be a whole number from 1; 1 trains in one process"
        elif max(whole) > 1 and self.lane in ("local", "solo", "fused"):
            yield (
                f"lane {self.lane} runs a trial in one process, resources.workers asks for {max(whole)}; "
                "take lane crew or gang, or one worker"
            )

    def _search_conflicts(self) -> Iterator[str]:
        searched = self.searched()
        if self.search is not None:
            yield from self._settings_conflicts()
            if not searched:
                yield f"search is {space.written(self.search)} but the recipe has no hole to search; add one or take search out"
        elif searched:
            yield f"the recipe has holes ({', '.join(searched)}) but no search; add search=TPE(trials=16)"
        elif self.early_stop is not None:
            yield "early_stop is set but there is no search: finals are never stopped early; take early_stop out"
        varied = [f"{path} is {space.describe(hole)}" for path, hole in space.holes(self.early_stop, "early_stop")]
        for text in varied:
            yield f"{text}; early stopping is the same for every trial: give one value"
        if self.early_stop is not None and isinstance(self.recipe.epochs, int) and not varied:
            yield from self.early_stop.conflicts(self.recipe.epochs)
        if self.early_stop is not None and any(isinstance(part, PBT) for part in self._searches()):
            yield "early_stop is set, but PBT lets its worst members go on from its best instead; take early_stop out"
        if self.also is not None:
            yield from self.also.conflicts(self.task, self.resources.gpus)
            if not searched:
                yield "also is set but nothing is searched: it chooses among heats; take also out"

    def _searches(self) -> list[Search | PBT | None]:
        """The searches of all levels; none where they cannot be told yet."""
        return [] if isinstance(self.search, space.Hole) else [self.search_of(level) for level in self.levels()]

    def _settings_conflicts(self) -> Iterator[str]:
        """What is wrong with the search's own settings, in any level."""
        if isinstance(self.search, space.Hole):
            yield f"search is {space.describe(self.search)}; write search=Rivals(trials=16, method=each(…)): as many heats for all"
            return
        for path, hole in space.holes(self.search, SEARCH):
            yield from space.conflicts(path, hole)
            if not isinstance(hole, space.Each):
                yield f"{path} is {space.describe(hole)}; a search is not searched for, compare its settings by each()"
                return
        if not any(text for path, hole in space.holes(self.recipe) for text in space.conflicts(path, hole)):
            searches = [(self.search_of(level), self.domain(level)) for level in self.levels()]
            found = [text for search, domain in searches if search is not None for text in search.conflicts(domain)]
            yield from dict.fromkeys(found)

    def _recipe_conflicts(self) -> Iterator[str]:
        """The recipe's own conflicts, at both ends of the space in every level."""
        if isinstance(self.recipe.epochs, space.Hole):
            yield "epochs is a hole: trials of different lengths cannot be stopped against each other; fix it"
            return
        seen: set[str] = set()
        for level in self.levels():
            for end in range(self.ends):
                for text in self.corner(level, end).conflicts():
                    if text not in seen:
                        seen.add(text)
                        yield text

    def check(self) -> None:
        """Raises QuestionError with all conflicts at once."""
        self.check_kinds()
        self._refuse(self.conflicts())

    def check_kinds(self) -> None:
        """Raises QuestionError for values that cannot be asked anything else: a class in place of what it makes, a task's name."""
        self._refuse(misused(self))

    def _refuse(self, conflicts: Iterator[str]) -> None:
        lines = [f"  - {text}" for text in conflicts]
        if lines:
            raise QuestionError("\n".join([f"sweep {self.name!r} cannot be run:", *lines]))


def _corner(level: Mapping[str, Scalar], end: int) -> space.Filler:
    """Fill every hole from one end of its range."""

    def filler(path: str, hole: space.Hole) -> Scalar:
        match hole:
            case space.Each():
                return level[path]
            case space.Choice(options):
                return space.name(options[min(end, len(options) - 1)])
            case space.Uniform(low, high):
                return float((low, high)[min(end, 1)])
            case space.IntRange(low, high):
                return (low, high)[min(end, 1)]

    return filler


def _inside_choices(value: Any) -> Iterator[space.Hole]:
    for _, hole in space.holes(value):
        if isinstance(hole, space.Choice):
            for option in hole.options:
                yield from (inner for _, inner in space.holes(option))
