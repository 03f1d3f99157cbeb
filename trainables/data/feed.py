"""From a set to the batches that the loop learns from or looks at."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING

from trainables.batches import beyond, picked, regrouped, split
from trainables.data.source import Indexed, Streamed, moved, resident

if TYPE_CHECKING:
    import torch

    from trainables.data.source import Set
    from trainables.run import Run
    from trainables.task import Tensors
    from trainables.world import World


def training(run: Run, size: int, skip: int = 0) -> Iterator[Tensors]:
    """This epoch's training samples in batches of ``size`` on the run's device, without the first ``skip``.

    Of a stream, what this worker has of each.
    """
    train: Set = run.splits.train
    if resident(train):
        return picked(train, size, beyond(run.order(), skip * size))
    found = _taken(run, train, size, skip) if isinstance(train, Indexed) else _streamed(run, train, size, skip)
    dtype = run.recipe.precision.dtype()
    return (moved(batch, run.device, dtype) for batch in found)


def looked_at(samples: Set, size: int, world: World, device: torch.device, dtype: torch.dtype) -> Iterator[Tensors]:
    """This worker's part of a set, in the order in which it lies, in batches of ``size`` on the device."""
    if resident(samples):
        return split(world.part(samples), size)
    return (moved(batch, device, dtype) for batch in samples.in_order(*world.span(samples.samples), size))


def _taken(run: Run, train: Indexed, size: int, skip: int) -> Iterator[Tensors]:
    return (train.take(rows) for rows in regrouped(beyond(run.order(), skip * size), size))


def _streamed(run: Run, train: Streamed, size: int, skip: int) -> Iterator[Tensors]:
    sizes = (min(size, train.samples - begin) for begin in range(0, train.samples, size))
    return islice(train.stream(sizes, run.world.rank, run.world.size, run.seeds.order, run.epoch), skip, None)
