"""A job: one trial to be run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Self

from analysis.records import Stage
from trainables import Recipe, Seeds, Task
from trainables.describe import Scalar, plain

if TYPE_CHECKING:
    from sweeps.engine.spec import Sweep


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """What to run: a point of the space at a stage with its seeds. ``number`` is its place in the order of dealing."""

    id: str
    stage: Stage
    level: Mapping[str, Scalar]
    point: Mapping[str, Scalar]
    seed: int
    seeds: Seeds
    number: int = 0

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
    ) -> Self:
        """The job with its id: a hash of task, resolved recipe, stage and seed."""
        recipe = sweep.resolved(point, seeds)
        workers = sweep.workers(point)
        if not sweep.compares_workers:
            # What is learned with PerWorker(64) on two is what is learned with 128.
            recipe = replace(recipe, batch_size=recipe.effective_batch(workers))
        return cls(
            id=identity(sweep.task, recipe, stage, seed, sweep.beside(level)),
            stage=stage,
            level=level,
            point=point,
            seed=seed,
            seeds=seeds,
        )

    def to_json(self) -> str:
        """The job as text, as it travels to a worker."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what ``to_json`` wrote."""
        fields: dict[str, Any] = json.loads(text)
        return cls(**fields | {"stage": Stage(fields["stage"]), "seeds": Seeds(**fields["seeds"])})


def identity(task: Task, recipe: Recipe, stage: Stage, seed: int, beside: Sequence[Scalar] = ()) -> str:
    """Twelve hexadecimal digits that are the same wherever this trial is asked for again.

    The goal's target is no part of it: it changes what is said of a run, not the run. Nor are the workers, which give the same
    numbers however many they are, or the search, but where they are what is compared ``beside`` the recipe. (With BatchNorm or
    dropout workers do not give quite the same: each normalises its own share and draws its own masks.)
    """
    learned = [task.name, plain(task.data), plain(task.metrics), plain(task.loss), task.goal.metric, task.goal.mode]
    text = json.dumps([learned, plain(recipe), stage.value, seed, *beside], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def key(level: Mapping[str, Scalar]) -> str:
    """A level as text, for use as a dictionary's key."""
    return json.dumps(level, sort_keys=True)
