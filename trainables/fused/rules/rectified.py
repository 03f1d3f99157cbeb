"""RAdam over rows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor

from trainables.fused.rows import Rows
from trainables.fused.rules.blocks import Group, Span, add_decay, column, decay, remembered, settle


@final
class Rectified:
    """RAdam's step as torch takes it (Liu et al., 2020), every setting a column."""

    def __init__(self, rows: Rows, optimizers: Sequence[torch.optim.Optimizer], spans: Sequence[Span]) -> None:
        self._rows, self._optimizers, self._spans = rows, optimizers, spans
        self._groups = spans[0].groups
        tensors, self._steps = remembered(rows, optimizers, ("exp_avg", "exp_avg_sq"))
        self._first, self._second = tensors.values()

    def step(self, gradient: Tensor) -> None:
        """All members at once."""
        torch._foreach_add_(self._steps, 1.0)
        weights, first, second = self._rows.flat, self._first, self._second
        if self._groups[0]["decoupled_weight_decay"]:
            decay(self._spans, weights)
        else:
            add_decay(self._spans, weights, gradient)
        betas = [group["betas"] for group in self._groups]
        first.lerp_(gradient, column([1 - beta1 for beta1, _ in betas], weights))
        second.mul_(column([beta2 for _, beta2 in betas], weights))
        second.addcmul_(gradient * gradient, column([1 - beta2 for _, beta2 in betas], weights))
        scales = [_scales(group, float(step)) for group, step in zip(self._groups, self._steps, strict=True)]
        plain, adaptive = (column([pair[side] for pair in scales], weights) for side in (0, 1))
        divisor = second.sqrt().add_(self._spans[0].column("eps", weights))
        weights.sub_(first * (plain + adaptive / divisor))

    def settle(self) -> None:
        """Hand the steps to the members."""
        settle(self._rows, self._optimizers, self._steps)


def _scales(group: Group, step: float) -> tuple[float, float]:
    """What the first moment is multiplied by, without and with the second moment under it; one of the two is 0."""
    beta1, beta2 = group["betas"]
    corrected = group["lr"] / (1 - beta1**step)
    most = 2 / (1 - beta2) - 1
    now = most - 2 * step * beta2**step / (1 - beta2**step)
    if now <= 5:
        return corrected, 0.0
    rectified = math.sqrt((now - 4) * (now - 2) * most / ((most - 4) * (most - 2) * now))
    return 0.0, corrected * rectified * math.sqrt(1 - beta2**step)
