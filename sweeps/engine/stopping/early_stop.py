"""What every rule for early stopping offers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar, Protocol, runtime_checkable


class Stopper(Protocol):
    """Decides over the trials of one level."""

    def stops(self, trial: str, epoch: int, value: float) -> bool:
        """Take in the finite value of a trial, known by its id, at an epoch; True when it should stop."""
        ...


@runtime_checkable
class EarlyStop(Protocol):
    """A dataclass that builds a stopper; ``grace`` is the first epoch at which a trial can be stopped."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def grace(self) -> int: ...

    def build(self, epochs: int, mode: str) -> Stopper:
        """The stopper of one level, for trials of so many epochs; ``mode`` is max or min."""
        ...

    def conflicts(self, epochs: int) -> Iterator[str]:
        """What is wrong with the settings for a recipe of so many epochs."""
        ...


def late_grace(name: str, grace: int, epochs: int) -> Iterator[str]:
    """The conflict of a grace outside the run."""
    if not 1 <= grace <= epochs:
        yield f"{name} grace {grace} must lie between 1 and the recipe's {epochs} epochs"


def small_factor(name: str, factor: int) -> Iterator[str]:
    """The conflict of a factor that halves nothing."""
    if factor < 2:
        yield f"{name} factor {factor} must be at least 2; 3 is usual"
