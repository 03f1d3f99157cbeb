"""The paths from samples to batches."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import trainables as t
from benchmarks.sources.work import tensors
from trainables.batches import split
from trainables.data import ParquetShards, Prefetch, Stream, write
from trainables.seeds import generator

if TYPE_CHECKING:
    from torch import Tensor
    from torch.utils.data import DataLoader

    Tensors = tuple[Tensor, ...]

SHARDS = 10
WAIT = 0.002


@dataclass(frozen=True, kw_only=True, slots=True)
class Way:
    """A path: what makes its training set, given a folder to write to, and what of it is looked up ahead."""

    name: str
    says: str
    make: Callable[[Path], Any]
    ahead: Prefetch | None = None


class Loader:
    """Torch's ``DataLoader`` over a ``TensorDataset``, in the product's order; its workers stay from epoch to epoch."""

    def __init__(self, workers: int) -> None:
        self._tensors = tensors()
        self._workers = workers
        self._order: list[int] = []
        self._loader: DataLoader[Any] | None = None

    def __iter__(self) -> Iterator[int]:
        return iter(self._order)

    def __len__(self) -> int:
        return self.samples

    @property
    def samples(self) -> int:
        """How many there are."""
        return len(self._tensors[1])

    def targets(self) -> Tensor:
        """All of them."""
        return self._tensors[1]

    def in_order(self, begin: int, end: int, size: int) -> Iterator[Tensors]:
        """Views of the tensors."""
        return split(tuple(tensor[begin:end] for tensor in self._tensors), size)

    def stream(self, size: int, rank: int, workers: int, *seed: int) -> Iterator[Tensors]:  # noqa: ARG002
        """One epoch."""
        import torch
        from torch.utils.data import DataLoader, TensorDataset

        self._order = torch.randperm(self.samples, generator=generator(*seed)).tolist()
        if self._loader is None:
            self._loader = DataLoader(
                TensorDataset(*self._tensors),
                batch_size=size,
                sampler=self,
                num_workers=self._workers,
                persistent_workers=self._workers > 0,
            )
        return (tuple(batch) for batch in self._loader)


@dataclass(frozen=True, slots=True, eq=False)
class Slow:
    """Samples whose storage takes ``WAIT`` seconds to answer, once a batch, as a disk or a network would: the wait is made."""

    source: t.InMemory

    @property
    def samples(self) -> int:
        """How many there are."""
        return self.source.samples

    def targets(self) -> Tensor:
        """All of them."""
        return self.source.targets()

    def take(self, rows: Tensor) -> Tensors:
        """After a while."""
        time.sleep(WAIT)
        return self.source.take(rows)

    def in_order(self, begin: int, end: int, size: int) -> Iterator[Tensors]:
        """At once."""
        return self.source.in_order(begin, end, size)


def mapped(folder: Path) -> Any:
    """The set on disk, in the system's page cache since it was just written."""
    return write(folder / "mapped", split(tensors(), 1000))


def streamed(folder: Path) -> Stream:
    """The set in Parquet files, one column a number, all of them shuffled together so that the order is the plain one."""
    import pyarrow as pa
    from pyarrow import parquet

    inputs, target = (tensor.numpy() for tensor in tensors())
    shards = folder / "shards"
    shards.mkdir(exist_ok=True)
    names = [f"x{place}" for place in range(inputs.shape[1])]
    each = -(-len(target) // SHARDS)
    for number in range(SHARDS):
        rows = slice(number * each, (number + 1) * each)
        columns = {name: inputs[rows, place] for place, name in enumerate(names)} | {"target": target[rows]}
        parquet.write_table(pa.table(columns), shards / f"{number}.parquet")
    return Stream(shards=ParquetShards(path=str(shards), inputs=tuple(names), target="target"), mix=SHARDS)


PLAIN = Way(name="memory", says="tensors in memory", make=lambda _: tensors())

PATHS = (
    PLAIN,
    Way(name="again", says="the same once more: how far chance goes", make=lambda _: tensors()),
    Way(name="memory_ahead", says="tensors in memory, looked up ahead", make=lambda _: tensors(), ahead=Prefetch()),
    Way(name="by_batch", says="in memory, looked up batch by batch", make=lambda _: t.InMemory(tensors())),
    Way(name="mapped", says="memory-mapped, in the page cache", make=mapped),
    Way(name="mapped_ahead", says="memory-mapped, looked up ahead", make=mapped, ahead=Prefetch()),
    Way(name="streamed", says="Parquet shards, read anew in every epoch", make=streamed),
    Way(name="streamed_ahead", says="Parquet shards, read ahead", make=streamed, ahead=Prefetch()),
    Way(name="dataloader", says="torch DataLoader in this process", make=lambda _: Loader(0)),
    Way(name="dataloader_2", says="torch DataLoader with two worker processes", make=lambda _: Loader(2)),
    Way(name="slow", says="storage that answers after 2 ms", make=lambda _: Slow(t.InMemory(tensors()))),
    Way(
        name="slow_ahead",
        says="storage that answers after 2 ms, looked up ahead",
        make=lambda _: Slow(t.InMemory(tensors())),
        ahead=Prefetch(depth=4, workers=4),
    ),
)
"""All paths; each is given the plain order, so that all train the same."""
