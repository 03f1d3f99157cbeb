"""How random an order is."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from trainables.batches import regrouped

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True, slots=True)
class Randomness:
    """An order held against a full shuffle, which has 1, 1 and 0 up to chance; as samples lie, in order, it is about B, 0 and 1.

    ``spread`` is the variance of the batches' mean places in the set over what drawing at random gives: where neighbours are alike,
    so much more do batches differ, and their gradients (the design effect of cluster sampling; Kish, 1965). ``distance`` is how far
    apart in the set two samples are that follow each other, over a third of the set. ``drift`` is the correlation between the
    place in the order and the place in the set, without its sign. ``each_once`` says that no sample is missing or comes twice, as
    far as the sums of places and of their squares can tell.
    """

    spread: float
    distance: float
    drift: float
    each_once: bool

    @classmethod
    def of(cls, order: Tensor | Iterable[Tensor], samples: int, batch_size: int) -> Self:
        """One pass over an order of ``samples`` >= 2 samples, in memory of a batch and a block."""
        import torch

        seen = total = squares = 0
        around = apart = across = 0.0
        last: Tensor | None = None
        whole = 0
        for batch in regrouped(order, batch_size):
            total += int(batch.sum())
            squares += sum((part * part).sum().item() for part in batch.split(1024))  # type: ignore[no-untyped-call]
            place = batch.double() / (samples - 1) - 0.5
            when = torch.arange(seen, seen + len(batch), dtype=torch.float64) / (samples - 1) - 0.5
            across += float(place @ when)
            joined = place if last is None else torch.cat([last, place])
            apart += float(joined.diff().abs().sum())
            last = place[-1:]
            if len(batch) == batch_size:
                around += float(place.mean()) ** 2
                whole += 1
            seen += len(batch)
        variance = (samples + 1) / (12 * (samples - 1))
        drawn = variance / batch_size * (samples - batch_size) / (samples - 1)
        once = total == samples * (samples - 1) // 2
        once = once and squares == (samples - 1) * samples * (2 * samples - 1) // 6
        return cls(
            spread=around / whole / drawn if whole and drawn else 1.0,
            distance=3 * apart / (seen - 1),
            drift=abs(across / seen / variance),
            each_once=once and seen == samples,
        )
