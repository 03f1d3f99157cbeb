"""Learning-rate scaling: what the optimizer's lr becomes at another batch size than the one it was found for."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable


@runtime_checkable
class Scaling(Protocol):
    """(effective batch size) -> multiplier of the optimizer's lr, throughout the run."""

    def __call__(self, batch_size: int) -> float:
        """The multiplier at this batch size, in samples per optimizer step; 1 at the reference."""
        ...

    def conflicts(self) -> Iterator[str]:
        """What is wrong with the settings."""
        ...


@dataclass(frozen=True, slots=True)
class LinearScaling:
    """lr times batch size / ``reference`` (Goyal et al., 2017); it goes with SGD and a warm-up."""

    reference: int

    def __call__(self, batch_size: int) -> float:
        """The multiplier at this batch size."""
        return batch_size / self.reference

    def conflicts(self) -> Iterator[str]:
        """What is wrong with the settings."""
        yield from _reference("LinearScaling", self.reference)


@dataclass(frozen=True, slots=True)
class SquareRootScaling:
    """lr times the square root of batch size / ``reference`` (Krizhevsky, 2014), which keeps the variance of SGD's step.

    The rule that goes with Adam and its kin (Malladi et al., 2022).
    """

    reference: int

    def __call__(self, batch_size: int) -> float:
        """The multiplier at this batch size."""
        return math.sqrt(batch_size / self.reference)

    def conflicts(self) -> Iterator[str]:
        """What is wrong with the settings."""
        yield from _reference("SquareRootScaling", self.reference)


def _reference(name: str, reference: int) -> Iterator[str]:
    if not isinstance(reference, int) or reference < 1:
        yield (
            f"{name} reference {reference} must be a whole number from 1: the batch size for which the lr was found; "
            "scaling=None takes the lr as it is"
        )
