"""From a set to the batches that the loop learns from or looks at."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING

from trainables.batches import beyond, picked, regrouped, split
from trainables.data.prefetch import looked_up, prefetched
from trainables.data.source import Indexed, Streamed, resident
from trainables.data.transfer import arriving, pinned

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from trainables.data.source import Set
    from trainables.run import Run
    from trainables.task import Tensors
    from trainables.world import World


def training(run: Run, size: int, skip: int = 0, *, whole: bool = False) -> Iterator[Tensors]:
    """This epoch's training samples in batches of ``size`` on the run's device, without the first ``skip``.

    Of a stream, what this worker has of each, unless the ``whole`` is asked for.
    """
    train: Set = run.splits.train
    ahead = run.recipe.prefetch
    if resident(train):
        batches = picked(train, size, beyond(order_of(run), skip * size))
        on_device = train[0].device.type == "cuda"
        return batches if ahead is None or on_device else prefetched(batches, ahead.depth)
    found = (
        _taken(run, train, size, skip) if isinstance(train, Indexed) else _streamed(run, train, size, skip, whole=whole)
    )
    return arriving(found, run.device, run.recipe.precision.dtype())


def looked_at(samples: Set, size: int, world: World, device: torch.device, dtype: torch.dtype) -> Iterator[Tensors]:
    """This worker's part of a set, in the order in which it lies, in batches of ``size`` on the device."""
    if resident(samples):
        return split(world.part(samples), size)
    return arriving(samples.in_order(*world.span(samples.samples), size), device, dtype)


def order_of(run: Run) -> Tensor | Iterable[Tensor]:
    """The numbers of this epoch's samples, at once or in blocks."""
    sampling = run.recipe.sampling
    return run.order() if sampling is None else sampling.blocks(run.splits.train, run.seeds.order, run.epoch)


def _taken(run: Run, train: Indexed, size: int, skip: int) -> Iterator[Tensors]:
    """Look-ups by number, some of them ahead."""
    gpu, ahead = run.device.type == "cuda", run.recipe.prefetch
    asked = regrouped(beyond(order_of(run), skip * size), size)

    def take(rows: Tensor) -> Tensors:
        return pinned(train.take(rows)) if gpu and ahead is not None else train.take(rows)

    return map(take, asked) if ahead is None else looked_up(asked, take, ahead.depth, ahead.threads())


def _streamed(run: Run, train: Streamed, size: int, skip: int, *, whole: bool) -> Iterator[Tensors]:
    """A stream from its front, read by one thread where it is read ahead."""
    gpu, ahead = run.device.type == "cuda", run.recipe.prefetch
    rank, workers = (0, 1) if whole else (run.world.rank, run.world.size)
    batches = train.stream(size, rank, workers, run.seeds.order, run.epoch)
    rest = islice(batches, skip, None)
    if ahead is None:
        return rest
    return prefetched(map(pinned, rest) if gpu else rest, ahead.depth)
