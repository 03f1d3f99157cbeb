"""Which samples an epoch has, and in what order."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from torch import Tensor

    from trainables.data.source import Set


@runtime_checkable
class Sampling(Protocol):
    """A part that draws the epochs; without one every epoch has each sample once, in a new order."""

    def blocks(self, train: Set, *seed: int) -> Iterator[Tensor]:
        """Numbers of as many samples as the set has, [N] in all, in blocks of any size; drawn from ``seed`` alone."""
        ...

    def conflicts(self) -> Iterator[str]:
        """What is wrong with the settings."""
        ...
