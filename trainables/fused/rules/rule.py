"""What an optimizer's step over all members is to a pack."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor


class Rule(Protocol):
    """The step of one kind of optimizer for all rows at once, equal to what each member's own optimizer would do.

    What it remembers lies in the members' own optimizers, as rows of one tensor: a member that leaves takes its state along. The
    learning rate is read from each member's parameter groups, where its schedule writes it.
    """

    def step(self, gradient: Tensor) -> None:
        """Move all members by their gradients, [K, P], which it may overwrite."""
        ...

    def settle(self) -> None:
        """Bring what each member's optimizer remembers up to date, where the rule counts on its own."""
        ...
