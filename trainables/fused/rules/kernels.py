"""Adam, AdamW and SGD by torch's fused kernels, one call for the members that have the same settings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import final

import torch
from torch import Tensor

from trainables.fused.rows import Rows
from trainables.fused.rules.blocks import Span, add_decay, alike, decay, picked, remembered, settle


@final
class Adams:
    """Adam's step, ``decoupled`` as AdamW's; each member's row is a tensor of its own to the kernel."""

    def __init__(
        self, rows: Rows, optimizers: Sequence[torch.optim.Optimizer], spans: Sequence[Span], *, decoupled: bool
    ) -> None:
        self._rows, self._optimizers, self._spans, self._decoupled = rows, optimizers, spans, decoupled
        self._groups = spans[0].groups
        self._kernel: Callable[..., None] = torch._fused_adam_
        tensors, steps = remembered(rows, optimizers, ("exp_avg", "exp_avg_sq"))
        self._steps = [step.to(rows.flat.device) for step in steps]
        self._weights, self._first, self._second = list(rows.flat), *map(list, tensors.values())

    def step(self, gradient: Tensor) -> None:
        """Decay in one go, then one call for each set of members that are alike."""
        if self._decoupled:
            decay(self._spans, self._rows.flat)
        else:
            add_decay(self._spans, self._rows.flat, gradient)
        torch._foreach_add_(self._steps, 1.0)
        gradients = list(gradient)
        for group, members in alike(self._groups, ("lr", "betas", "eps")):
            beta1, beta2 = group["betas"]
            self._kernel(
                picked(self._weights, members),
                picked(gradients, members),
                picked(self._first, members),
                picked(self._second, members),
                [],
                picked(self._steps, members),
                lr=group["lr"],
                beta1=beta1,
                beta2=beta2,
                weight_decay=0.0,
                eps=group["eps"],
                amsgrad=False,
                maximize=False,
            )

    def settle(self) -> None:
        """Hand the steps to the members."""
        settle(self._rows, self._optimizers, self._steps)


@final
class Descents:
    """SGD's step, with momentum or without."""

    def __init__(self, rows: Rows, optimizers: Sequence[torch.optim.Optimizer], spans: Sequence[Span]) -> None:
        self._rows, self._spans, self._groups = rows, spans, spans[0].groups
        # A momentum that begins at 0 is after its first step what torch sets it to then: the gradient itself.
        names = ("momentum_buffer",) if any(group["momentum"] for group in self._groups) else ()
        tensors, _ = remembered(rows, optimizers, names, counted=False)
        self._weights = list(rows.flat)
        self._momenta = [row for tensor in tensors.values() for row in tensor]

    def step(self, gradient: Tensor) -> None:
        """Decay in one go, then one call for each set of members that are alike."""
        add_decay(self._spans, self._rows.flat, gradient)
        gradients = list(gradient)
        for group, members in alike(self._groups, ("lr", "momentum", "nesterov")):
            torch._fused_sgd_(
                picked(self._weights, members),
                picked(gradients, members),
                picked(self._momenta, members) if group["momentum"] else [],
                weight_decay=0.0,
                momentum=group["momentum"],
                lr=group["lr"],
                dampening=0.0,
                nesterov=group["nesterov"],
                maximize=False,
                is_first_step=False,
            )

    def settle(self) -> None:
        """Nothing is counted."""
