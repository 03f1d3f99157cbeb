"""Batches that are made once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from trainables.data.source import Indexed
from trainables.errors import ConflictError

if TYPE_CHECKING:
    from torch import Tensor

    from trainables.task import Tensors


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Held:
    """A source whose batches, in the order in which they lie, are made once and held: for sets that are looked at every epoch.

    At most ``limit`` bytes of the CPU's memory are taken, from the front; what lies beyond is made anew each time. Batches of
    another size, as after an automatic micro-batch has been halved, take the place of those before. Samples asked for by number
    come from the source. Sets that are plain tensors need none of this: their batches are slices. Raises ConflictError for a
    stream.
    """

    source: Indexed
    limit: int = 2**30
    _held: dict[tuple[int, int, int], list[Tensors]] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        if not isinstance(self.source, Indexed):
            raise ConflictError(
                "data",
                [
                    f"Held source {type(self.source).__name__} is read from front to end; what fits into memory is better read "
                    "into tensors, anything else put on disk by trainables.data.write"
                ],
            )
        if not self.limit >= 0:
            raise ConflictError("data", [f"Held limit {self.limit} must be a number of bytes from 0; 2**30 is one GiB"])

    @property
    def samples(self) -> int:
        """Those of the source."""
        return self.source.samples

    def targets(self) -> Tensor:
        """Those of the source."""
        return self.source.targets()

    def take(self, rows: Tensor) -> Tensors:
        """From the source."""
        return self.source.take(rows)

    def in_order(self, begin: int, end: int, size: int) -> Iterator[Tensors]:
        """The batches that are held, then the others."""
        place = (begin, end, size)
        if place not in self._held:
            self._held.clear()
            self._held[place] = []
        held = self._held[place]
        there = held[:]
        yield from there
        begin += size * len(there)
        room = self.limit - sum(map(_bytes, there))
        rest = self.source.in_order(begin, end, size) if begin < end else iter(())
        for number, batch in enumerate(rest, start=len(there)):
            room -= _bytes(batch)
            # One that does not fit leaves no room for those behind it, and another pass may have come first: there are no gaps.
            if room >= 0 and len(held) == number:
                held.append(batch)
            yield batch


def _bytes(batch: Tensors) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in batch)
