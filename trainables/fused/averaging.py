"""Exponential averages of all members' weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

from trainables.averages.ema import Exponential
from trainables.fused.rows import Rows
from trainables.fused.rules.blocks import column


@final
class RowAverage:
    """The members' averages, a row each, going the way that each one's own decay says."""

    def __init__(self, averages: Sequence[Exponential], rows: Rows) -> None:
        self._averages, self._source = averages, rows
        self.rows = Rows([average.module for average in averages], [slot.name for slot in rows.slots])

    def update(self) -> None:
        """A step was taken by every member."""
        shares = []
        for average in self._averages:
            average.updates += 1
            shares.append(1 - average.decay())
        mine, theirs = self.rows, self._source
        mine.flat.lerp_(theirs.flat, column(shares, mine.flat) if len(set(shares)) > 1 else shares[0])
        for name, tensor in mine.held.items():
            other = theirs.held[name]
            if tensor.is_floating_point():
                tensor.lerp_(other, column(shares, tensor).view(-1, *[1] * (tensor.ndim - 1)))
            else:
                tensor.copy_(other)
