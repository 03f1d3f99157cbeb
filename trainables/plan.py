"""The arithmetic of a run: how samples become micro-batches, steps and epochs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trainables.micro_batch import Auto

if TYPE_CHECKING:
    from trainables.recipe import Recipe


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """Counts that follow from a recipe, the number of training samples and of workers.

    The last batch of an epoch holds what is left over and is not dropped; its gradient is the mean over its own samples.
    ``batch_size`` is over all workers, ``micro_batch`` what one of them holds at a time, or starts with when it is found.
    """

    samples: int
    batch_size: int
    micro_batch: int
    epochs: int
    workers: int = 1

    @classmethod
    def of(cls, recipe: Recipe, samples: int, workers: int = 1) -> Plan:
        """The plan of this recipe over ``samples`` training samples. A batch larger than the set is the whole set."""
        batch_size = min(recipe.effective_batch(workers), samples)
        share = math.ceil(batch_size / workers)
        asked = recipe.micro_batch.first if isinstance(recipe.micro_batch, Auto) else recipe.micro_batch
        return cls(
            samples=samples,
            batch_size=batch_size,
            micro_batch=min(asked or share, share),
            epochs=recipe.epochs,
            workers=workers,
        )

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps in one epoch."""
        return math.ceil(self.samples / self.batch_size)

    @property
    def steps(self) -> int:
        """Optimizer steps in the whole run."""
        return self.steps_per_epoch * self.epochs

    @property
    def accumulation(self) -> int:
        """Micro-batches of one worker in a full step."""
        return math.ceil(math.ceil(self.batch_size / self.workers) / self.micro_batch)

    def sizes(self, micro_batch: int) -> set[int]:
        """Sizes of the micro-batches that a worker meets in an epoch."""
        batches = {self.batch_size, self.samples % self.batch_size or self.batch_size}
        shares = {
            share for batch in batches for share in (batch // self.workers, math.ceil(batch / self.workers)) if share
        }
        parts = {(share, math.ceil(share / micro_batch)) for share in shares}
        return {size for share, count in parts for size in (share // count, math.ceil(share / count)) if size}

    def progress(self, step: int) -> float:
        """Progress in the middle of step ``step`` (from 0): above 0 and below 1."""
        return (step + 0.5) / self.steps
