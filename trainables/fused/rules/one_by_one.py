"""Any optimizer: each member's own, one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor

from trainables.fused.rows import Rows


@final
class OneByOne:
    """What no rule knows is done as a plain run does it; slower, and equal by construction."""

    def __init__(self, rows: Rows, optimizers: Sequence[torch.optim.Optimizer]) -> None:
        self._rows, self._optimizers = rows, optimizers

    def step(self, gradient: Tensor) -> None:
        """Each member's own optimizer on its part of the gradient, which it may keep: the next one lies elsewhere."""
        gradient = gradient.clone()
        for member, optimizer in enumerate(self._optimizers):
            self._rows.point(member, gradient)
            optimizer.step()
            self._rows.settle(member)
            optimizer.zero_grad()

    def settle(self) -> None:
        """The members' own count."""
