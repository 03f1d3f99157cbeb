"""What an optimizer's settings are to the loop."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    import torch
    from torch import nn


@runtime_checkable
class Optimizer(Protocol):
    """A part that builds a torch optimizer; ``lr`` is the peak that a schedule scales.

    The loop writes ``group["lr"]`` of every group before each step and keeps ``state_dict()`` in its checkpoints, so an optimizer
    that reads its learning rate there and holds all it remembers in ``state`` resumes exactly.
    """

    @property
    def lr(self) -> float: ...

    def build(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """The optimizer over these parameters."""
        ...

    def conflicts(self) -> Iterator[str]:
        """What is wrong with the settings."""
        ...
