"""The fastest data path by torch's ``DataLoader`` that all peers take: whole micro-batches, each cut out of memory at once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from benchmarks.loops.work import Work


class Cut(Dataset[tuple[Tensor, Tensor]]):
    """Samples by many indices at once, which ``DataLoader`` asks for by ``__getitems__``."""

    def __init__(self, inputs: Tensor, target: Tensor) -> None:
        self._inputs, self._target = inputs, target

    def __getitems__(self, chosen: Tensor) -> tuple[Tensor, Tensor]:
        return self._inputs[chosen], self._target[chosen]

    def __len__(self) -> int:
        return len(self._target)


class InOrder(Sampler[Tensor]):
    """The indices of each micro-batch, in another order each epoch."""

    def __init__(self, work: Work) -> None:
        self._work, self._epoch = work, 0

    def __iter__(self) -> Iterator[Tensor]:
        self._epoch += 1
        yield from self._work.order(self._epoch).split(self._work.micro)  # type: ignore[no-untyped-call]

    def __len__(self) -> int:
        return self._work.steps * self._work.batch // self._work.micro


def training(work: Work, inputs: Tensor, target: Tensor) -> DataLoader[Any]:
    """Micro-batches in the order in which all loops see them."""
    return DataLoader(Cut(inputs, target), batch_sampler=InOrder(work), collate_fn=whole)  # type: ignore[arg-type]


def held_out(inputs: Tensor, target: Tensor) -> DataLoader[Any]:
    """One batch of all."""
    return DataLoader(Cut(inputs, target), batch_size=len(target), collate_fn=whole)


def whole(batch: Any) -> tuple[Tensor, Tensor]:
    """What ``__getitems__`` gave is a batch already."""
    inputs, target = batch
    return inputs, target
