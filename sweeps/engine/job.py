"""A job: one trial to be run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Self

from analysis.records import Stage, Turn
from trainables import Recipe, Seeds, Task
from trainables.describe import Scalar, plain

if TYPE_CHECKING:
    from sweeps.engine.spec import Sweep


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """What to run: a point of the space at a stage with its seeds. ``number`` is its place in the order of dealing.

    Where settings change in mid-run, ``earlier`` are those before the point's. A segment ends at epoch ``until``, and begins where
    the job ``parent`` has left off.
    """

    id: str
    stage: Stage
    level: Mapping[str, Scalar]
    point: Mapping[str, Scalar]
    seed: int
    seeds: Seeds
    number: int = 0
    earlier: tuple[Turn, ...] = ()
    until: int | None = None
    parent: str | None = None

    @property
    def begins(self) -> int:
        """The epochs that its parent has trained."""
        return self.earlier[-1]["until"] if self.parent is not None else 0

    @property
    def tested(self) -> bool:
        """Whether the run looks at the test set: what is searched with must not, so that it cannot be chosen by it."""
        return self.stage is Stage.FINAL

    @classmethod
    def of(
        cls,
        sweep: Sweep,
        *,
        stage: Stage,
        level: Mapping[str, Scalar],
        point: Mapping[str, Scalar],
        seed: int,
        seeds: Seeds,
        earlier: Sequence[Turn] = (),
        until: int | None = None,
        parent: str | None = None,
    ) -> Self:
        """The job with its id: a hash of task, resolved recipe, stage and seed, and of the settings before, if there were any."""
        beside = [*sweep.beside(level), *_course(sweep, seeds, earlier, until)]
        return cls(
            id=identity(sweep.task, _learned(sweep, point, seeds), stage, seed, beside),
            stage=stage,
            level=level,
            point=point,
            seed=seed,
            seeds=seeds,
            earlier=tuple(earlier),
            until=until,
            parent=parent,
        )

    def to_json(self) -> str:
        """The job as text, as it travels to a worker."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what ``to_json`` wrote."""
        fields: dict[str, Any] = json.loads(text)
        parts = {
            "stage": Stage(fields["stage"]),
            "seeds": Seeds(**fields["seeds"]),
            "earlier": tuple(fields["earlier"]),
        }
        return cls(**fields | parts)


def identity(task: Task, recipe: Recipe, stage: Stage, seed: int, beside: Sequence[Any] = ()) -> str:
    """Twelve hexadecimal digits that are the same wherever this trial is asked for again.

    The goal's target is no part of it: it changes what is said of a run, not the run. Nor are the workers, which give the same
    numbers however many they are, or the search, but where they are what is compared ``beside`` the recipe. (With BatchNorm or
    dropout workers do not give quite the same: each normalises its own share and draws its own masks.)
    """
    learned = [task.name, plain(task.data), plain(task.metrics), plain(task.loss), task.goal.metric, task.goal.mode]
    text = json.dumps([learned, plain(recipe), stage.value, seed, *beside], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _learned(sweep: Sweep, point: Mapping[str, Scalar], seeds: Seeds) -> Recipe:
    """The recipe of a point as its numbers depend on it."""
    recipe = sweep.resolved(point, seeds)
    if sweep.compares_workers:
        return recipe
    # What is learned with PerWorker(64) on two is what is learned with 128.
    return replace(recipe, batch_size=recipe.effective_batch(sweep.workers(point)))


def _course(sweep: Sweep, seeds: Seeds, earlier: Sequence[Turn], until: int | None) -> list[Any]:
    """What came before a job's point, and where it leaves off; nothing for a run whose settings stay."""
    before = [[turn["until"], plain(_learned(sweep, turn["point"], seeds))] for turn in earlier]
    return [before, until] if before or until is not None else []


def key(level: Mapping[str, Scalar]) -> str:
    """A level as text, for use as a dictionary's key."""
    return json.dumps(level, sort_keys=True)
