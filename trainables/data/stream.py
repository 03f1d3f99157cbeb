"""Sets that do not fit one machine: shards, read one after the other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain, repeat
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from trainables.data.chunked import of_chunk
from trainables.errors import ConflictError
from trainables.seeds import generator

if TYPE_CHECKING:
    from torch import Tensor

    from trainables.task import Tensors


@runtime_checkable
class Shards(Protocol):
    """The shards of a set, wherever they lie and whoever reads them."""

    @property
    def counts(self) -> Sequence[int]:
        """The samples of each shard, known without reading it."""
        ...

    def targets(self) -> Tensor:
        """Targets that tell how many outputs are needed: some with the largest class among them."""
        ...

    def read(self, numbers: Sequence[int]) -> Iterator[Tensors]:
        """These shards in this order, each as a whole (input…, target), on the CPU."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Stream:
    """A set in shards of which a few are in memory at a time.

    Every epoch takes the shards in a new order, ``mix`` of them at a time, and shuffles the samples of those: twice their size is
    what is held. With as many as there are, the order is that of the same samples in memory. Of several workers each reads its
    own run of the shards, and has its share of every batch out of it: a worker reads the set's samples over their number, and at
    most the shards at its two ends beside them. Batches have the sizes that they have anyway and an epoch every sample once,
    whatever the shards' sizes.
    """

    shards: Shards
    mix: int = 4

    def __post_init__(self) -> None:
        if not isinstance(self.mix, int) or self.mix < 1:
            raise ConflictError("data", [f"Stream mix {self.mix} must be a whole number of shards from 1; 4 is usual"])

    @property
    def samples(self) -> int:
        """Those of all shards."""
        return sum(self.shards.counts)

    def targets(self) -> Tensor:
        """What the shards tell."""
        return self.shards.targets()

    def in_order(self, begin: int, end: int, size: int) -> Iterator[Tensors]:
        """Batches as the samples lie in the shards; only those shards are read in which they are."""
        sizes = chain(repeat(size, (end - begin) // size), [(end - begin) % size] if (end - begin) % size else [])
        return _cut(self._rows([[number] for number in range(len(self.shards.counts))], begin, end), sizes)

    def stream(self, size: int, rank: int, workers: int, *seed: int) -> Iterator[Tensors]:
        """What worker ``rank`` has of the epoch's batches of ``size``; nothing, [0, ...], of one that is too small for all."""
        full, rest = divmod(self.samples, size)
        whole, last = (_shares(count, workers) for count in (size, rest))
        own = [full * each + more for each, more in zip(whole, last, strict=True)]
        begin = sum(own[:rank])
        sizes = chain(repeat(whole[rank], full), [last[rank]] if rest else [])
        return _cut(self._rows(self._groups(*seed), begin, begin + own[rank], *seed), sizes, self)

    def _groups(self, *seed: int) -> list[list[int]]:
        """The shards that are shuffled together, in the order of the epoch."""
        import torch

        count = len(self.shards.counts)
        if self.mix >= count:
            return [list(range(count))]
        order = torch.randperm(count, generator=generator("shards", *seed)).tolist()
        return [sorted(order[start : start + self.mix]) for start in range(0, count, self.mix)]

    def _rows(self, groups: list[list[int]], begin: int, end: int, *seed: int) -> Iterator[Tensors]:
        """The samples from ``begin`` up to ``end`` of the groups one after the other, each shuffled where there is a ``seed``."""
        import torch

        counts = self.shards.counts
        ends = list(accumulate(sum(counts[number] for number in group) for group in groups))
        needed = [
            place
            for place, (group, stop) in enumerate(zip(groups, ends, strict=True))
            if stop > begin and stop - sum(counts[number] for number in group) < end
        ]
        found = self.shards.read([number for place in needed for number in groups[place]])
        for place in needed:
            held = [_whole(next(found), number, counts[number]) for number in groups[place]]
            samples = sum(len(shard[-1]) for shard in held)
            start = ends[place] - samples
            here = slice(max(0, begin - start), min(samples, end - start))
            joined = held[0] if len(held) == 1 else tuple(torch.cat(parts) for parts in zip(*held, strict=True))
            del held
            if seed:
                order = torch.randperm(samples, generator=of_chunk(place, *seed))[here]
                for rows in order.split(BLOCK):  # type: ignore[no-untyped-call]
                    yield tuple(tensor[rows] for tensor in joined)
            else:
                yield tuple(tensor[here] for tensor in joined)
            del joined  # before the next shards are read


def _whole(shard: Tensors, number: int, count: int) -> Tensors:
    """A shard that has as many samples as it was counted with. Raises ConflictError for one that has changed since."""
    if any(len(tensor) != count for tensor in shard):
        lengths = ", ".join(str(len(tensor)) for tensor in shard)
        said = f"shard {number} has {lengths} samples where {count} were counted; leave shards as they are while they are read"
        raise ConflictError("data", [f"{said}, and start the run anew"])
    return shard


BLOCK = 8192
"""Samples gathered at once, so that a shuffled group is not held twice."""


def _cut(pieces: Iterator[Tensors], sizes: Iterator[int], source: Stream | None = None) -> Iterator[Tensors]:
    """The samples of the pieces in batches of these sizes; ``source`` shows what a batch without a sample looks like."""
    import torch

    held: Tensors | None = None
    for size in sizes:
        if size == 0 and held is None and source is not None:
            held = tuple(tensor[:0] for tensor in next(source.in_order(0, 1, 1)))
        parts = [] if held is None else [held]
        missing = size - (0 if held is None else len(held[-1]))
        while missing > 0:
            piece = next(pieces)
            parts.append(piece)
            missing -= len(piece[-1])
        joined = parts[0] if len(parts) == 1 else tuple(torch.cat(columns) for columns in zip(*parts, strict=True))
        yield tuple(tensor[:size] for tensor in joined)
        held = tuple(tensor[size:] for tensor in joined)


def _shares(count: int, workers: int) -> list[int]:
    """How many samples of a batch each worker has."""
    each, more = divmod(count, workers)
    return [each + (rank < more) for rank in range(workers)]
