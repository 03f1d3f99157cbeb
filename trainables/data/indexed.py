"""Sources by index: tensors that stay in the CPU's memory, parts of a source, two of them as one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trainables.data.source import Indexed, Streamed, resident

if TYPE_CHECKING:
    from torch import Tensor

    from trainables.data.source import Set
    from trainables.task import Tensors


@dataclass(frozen=True, slots=True, eq=False)
class InMemory:
    """Tensors in the CPU's memory, [N, ...] each, of which only batches go to the device: for sets larger than its memory."""

    tensors: Tensors

    @property
    def samples(self) -> int:
        """How many there are."""
        return len(self.tensors[-1])

    def targets(self) -> Tensor:
        """All of them."""
        return self.tensors[-1]

    def take(self, rows: Tensor) -> Tensors:
        """A copy of these samples."""
        return tuple(tensor.index_select(0, rows) for tensor in self.tensors)

    def in_order(self, begin: int, end: int, size: int) -> Iterator[Tensors]:
        """Views, not copies."""
        for start in range(begin, end, size):
            yield tuple(tensor[start : min(start + size, end)] for tensor in self.tensors)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Chosen:
    """The samples ``rows`` [n] of another source: what a split leaves of it, without a copy. An input keeps its target."""

    source: Indexed
    rows: Tensor

    @property
    def samples(self) -> int:
        """How many were chosen."""
        return len(self.rows)

    def targets(self) -> Tensor:
        """Those of the chosen samples."""
        return self.source.targets()[self.rows]

    def take(self, rows: Tensor) -> Tensors:
        """These of the chosen ones."""
        return self.source.take(self.rows[rows])

    def in_order(self, begin: int, end: int, size: int) -> Iterator[Tensors]:
        """Batches in the order in which they were chosen."""
        return (self.source.take(self.rows[start : min(start + size, end)]) for start in range(begin, end, size))


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Joined:
    """The samples of ``first``, and after them those of ``then``."""

    first: Indexed
    then: Indexed

    @property
    def samples(self) -> int:
        """Those of both."""
        return self.first.samples + self.then.samples

    def targets(self) -> Tensor:
        """Those of both."""
        import torch

        return torch.cat([self.first.targets(), self.then.targets()])

    def take(self, rows: Tensor) -> Tensors:
        """Each sample from where it lies, in the order asked for."""
        import torch

        early = rows < self.first.samples
        order = torch.cat([early.nonzero()[:, 0], (~early).nonzero()[:, 0]]).argsort()
        parts = self.first.take(rows[early]), self.then.take(rows[~early] - self.first.samples)
        return tuple(torch.cat(pair)[order] for pair in zip(*parts, strict=True))

    def in_order(self, begin: int, end: int, size: int) -> Iterator[Tensors]:
        """Batches that may hold samples of both."""
        import torch

        return (self.take(torch.arange(start, min(start + size, end))) for start in range(begin, end, size))


def indexed(samples: Set) -> Indexed | Streamed:
    """Tensors as a source; a source as it is."""
    return InMemory(samples) if resident(samples) else samples
