"""What a weight average is to the loop."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from torch import Tensor, nn


@runtime_checkable
class Average(Protocol):
    """A part that builds the running average of a module."""

    def build(self, module: nn.Module) -> Averaged:
        """The average, starting at the module's weights."""
        ...

    def conflicts(self) -> Iterator[str]:
        """What is wrong with the settings."""
        ...


class Averaged(Protocol):
    """A running average: told of each step and of each epoch's end, evaluated in place of the module."""

    @property
    def module(self) -> nn.Module:
        """A module of its own that holds the averaged weights."""
        ...

    def update(self) -> None:
        """A step was taken."""
        ...

    def epoch_ended(self, epoch: int, epochs: int, batches: Callable[[], Iterator[tuple[Tensor, ...]]]) -> None:
        """Epoch ``epoch`` (from 1) of ``epochs`` has been trained, and is validated next.

        ``batches()`` goes through the training inputs without their targets, each [B, ...], in a drawn order: batches of one class
        each would vary too little. All workers get the same. An average that does not need them does not ask.
        """
        ...

    def state(self) -> dict[str, Any]:
        """All that a resumed run needs."""
        ...

    def load(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        ...
