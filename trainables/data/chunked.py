"""A shuffle that never holds all indices."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trainables.data.source import count
from trainables.seeds import generator

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from trainables.data.source import Set


@dataclass(frozen=True, kw_only=True, slots=True)
class Chunked:
    """Each sample once, in an order drawn ``chunk`` samples at a time, for sets whose order alone would fill the memory.

    A chunk is put together from ``pieces`` runs of neighbours that lie anywhere in the set, and shuffled. Held are its indices and
    one number a run; the runs are what a disk reads in one go. The price is in the randomness: the means of batches of B vary by
    1 + B / ``pieces`` of what a full shuffle gives them (``trainables.data.randomness`` measures it). A set of at most ``chunk``
    samples is shuffled as without it, to the same order by the same seed.
    """

    chunk: int = 65_536
    pieces: int = 1024

    def blocks(self, train: Set, *seed: int) -> Iterator[Tensor]:
        """A chunk at a time."""
        return self.order(count(train), *seed)

    def order(self, samples: int, *seed: int) -> Iterator[Tensor]:
        """The indices of so many samples, a chunk at a time."""
        import torch

        length = self.chunk // self.pieces
        runs = math.ceil(samples / length)
        within = torch.arange(length)
        if samples <= self.chunk:
            chosen = iter([torch.arange(runs)])
        else:
            places = torch.randperm(runs, generator=generator("runs", *seed))
            chosen = iter(places.split(self.pieces))  # type: ignore[no-untyped-call]
        for number, starts in enumerate(chosen):
            indices = (length * starts.sort().values[:, None] + within).flatten()
            indices = indices[indices < samples]
            yield indices[torch.randperm(len(indices), generator=of_chunk(number, *seed))]

    def conflicts(self) -> Iterator[str]:
        """What is wrong with the settings."""
        if not isinstance(self.chunk, int) or self.chunk < 1:
            yield f"Chunked chunk {self.chunk} must be a whole number of samples from 1; 65536 is usual"
        elif not isinstance(self.pieces, int) or not 1 <= self.pieces <= self.chunk:
            yield f"Chunked pieces {self.pieces} must be a whole number from 1 to chunk {self.chunk}; 1024 is usual"


def of_chunk(number: int, *seed: int) -> torch.Generator:
    """What shuffles one chunk; that of the first is the one that shuffles a whole set where it is the only one."""
    return generator("chunk", *seed, number) if number else generator(*seed)
