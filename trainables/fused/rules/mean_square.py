"""RMSprop over rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor

from trainables.fused.rows import Rows
from trainables.fused.rules.blocks import Span, add_decay, column, remembered, settle


@final
class MeanSquare:
    """RMSprop's step as torch takes it, every setting a column; all members are centred, or none is."""

    def __init__(self, rows: Rows, optimizers: Sequence[torch.optim.Optimizer], spans: Sequence[Span]) -> None:
        self._rows, self._optimizers, self._spans = rows, optimizers, spans
        groups = spans[0].groups
        names = ["square_avg"]
        names += ["momentum_buffer"] if any(group["momentum"] for group in groups) else []
        names += ["grad_avg"] if groups[0]["centered"] else []
        self._tensors, self._steps = remembered(rows, optimizers, names)

    def step(self, gradient: Tensor) -> None:
        """All members at once."""
        torch._foreach_add_(self._steps, 1.0)
        weights, settings = self._rows.flat, self._spans[0]
        add_decay(self._spans, weights, gradient)
        rest = column([1 - group["alpha"] for group in settings.groups], weights)
        square = self._tensors["square_avg"].mul_(settings.column("alpha", weights))
        square.addcmul_(gradient * gradient, rest)
        mean, momenta = self._tensors.get("grad_avg"), self._tensors.get("momentum_buffer")
        if mean is not None:
            mean.lerp_(gradient, rest)
            root = square.addcmul(mean, mean, value=-1).sqrt_()
        else:
            root = square.sqrt()
        move = gradient / root.add_(settings.column("eps", weights))
        if momenta is not None:
            # Of a member without momentum this is the move itself.
            move = momenta.mul_(settings.column("momentum", weights)).add_(move)
        weights.addcmul_(move, settings.column("lr", weights), value=-1)

    def settle(self) -> None:
        """Hand the steps to the members."""
        settle(self._rows, self._optimizers, self._steps)
