"""Batches for all members of a pack: each in its own order, from its own split."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from trainables.batches import BLOCK
from trainables.data.feed import order_of

if TYPE_CHECKING:
    from trainables.run import Run
    from trainables.task import Tensors


class Feed:
    """The training sets of several runs, those that are the same tensors held once.

    ``once`` says that a batch which all members have may be one piece of memory, since nothing is written into it.
    """

    def __init__(self, runs: Sequence[Run], *, once: bool) -> None:
        self._once = once
        sets = [run.splits.train for run in runs]
        distinct: dict[Hashable, Tensors] = {}
        for tensors in sets:
            distinct.setdefault(place(tensors), tensors)
        starts: dict[Hashable, int] = {}
        begin = 0
        for where, tensors in distinct.items():
            starts[where] = begin
            begin += len(tensors[-1])
        self._starts = [starts[place(tensors)] for tensors in sets]
        only = next(iter(distinct.values()))
        joined = zip(*distinct.values(), strict=True)
        self._tensors = only if len(distinct) == 1 else tuple(torch.cat(parts) for parts in joined)

    def batches(self, runs: Sequence[Run], size: int) -> Iterator[Tensors]:
        """An epoch of every run in batches of ``size`` of each, [K, B, ...]; the last holds what is left over.

        The same samples in the same order as each run alone would have. Heats of a search have one order in common.
        """
        orders = torch.stack([_whole(run) + start for run, start in zip(runs, self._starts, strict=True)])
        members, samples = orders.shape
        if self._once and bool((orders == orders[0]).all()):
            orders = orders[:1]
        steps = max(1, BLOCK // (size * len(orders)))
        full = samples // size
        for begin in range(0, full, steps):
            count = min(steps, full - begin)
            chosen = orders[:, begin * size : (begin + count) * size].reshape(-1, count, size).transpose(0, 1)
            for batch in zip(*self._gathered(chosen), strict=True):
                yield _expanded(batch, members)
        if samples % size:
            yield _expanded(self._gathered(orders[:, full * size :]), members)

    def _gathered(self, chosen: Tensor) -> Tensors:
        """The samples with these numbers, [...] -> [..., ...]."""
        rows = chosen.reshape(-1).to(self._tensors[0].device)
        return tuple(tensor.index_select(0, rows).view(*chosen.shape, *tensor.shape[1:]) for tensor in self._tensors)


def _expanded(batch: Tensors, members: int) -> Tensors:
    """A batch of all members, or of one of them that all have, [K or 1, B, ...] -> [K, B, ...]."""
    return tuple(tensor.expand(members, *tensor.shape[1:]) for tensor in batch)


def _whole(run: Run) -> Tensor:
    order = order_of(run)
    return order if isinstance(order, Tensor) else torch.cat(list(order))


def place(tensors: Tensors) -> Hashable:
    """Where and how a set lies in memory: sets that lie alike are the same."""
    return tuple((tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype) for tensor in tensors)
