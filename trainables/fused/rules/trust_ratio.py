"""LAMB over rows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor

from trainables.fused.rows import Rows
from trainables.fused.rules.blocks import Span, column, remembered, settle


@final
class TrustRatios:
    """The step of ``TrustRatioAdam``, every setting a column; lengths are those of each parameter in each row."""

    def __init__(self, rows: Rows, optimizers: Sequence[torch.optim.Optimizer], spans: Sequence[Span]) -> None:
        self._rows, self._optimizers, self._spans = rows, optimizers, spans
        for member, optimizer in enumerate(optimizers):
            for parameter, _ in rows.parameters(member):
                optimizer.state[parameter].setdefault("step", 0)
        tensors, self._steps = remembered(rows, optimizers, ("exp_avg", "exp_avg_sq"))
        self._first, self._second = tensors.values()

    def step(self, gradient: Tensor) -> None:
        """All members at once, decay and length span by span."""
        torch._foreach_add_(self._steps, 1.0)
        weights, first, second = self._rows.flat, self._first, self._second
        settings = self._spans[0]
        pairs = [(*group["betas"], float(step)) for group, step in zip(settings.groups, self._steps, strict=True)]
        first.lerp_(gradient, column([1 - beta1 for beta1, _, _ in pairs], weights))
        second.mul_(column([beta2 for _, beta2, _ in pairs], weights))
        second.addcmul_(gradient * gradient, column([1 - beta2 for _, beta2, _ in pairs], weights))
        roots = column([math.sqrt(1 - beta2**step) for _, beta2, step in pairs], weights)
        moves = first / (second.sqrt() / roots).add_(settings.column("eps", weights))
        moves /= column([1 - beta1**step for beta1, _, step in pairs], weights)
        for span in self._spans:
            move = span.of(moves)
            if any(group["weight_decay"] for group in span.groups):
                move.addcmul_(span.of(weights), span.column("weight_decay", weights))
            if span.groups[0]["adapted"]:
                move *= self._ratios(span.of(weights), move, span.begin)
        weights.addcmul_(moves, settings.column("lr", weights), value=-1)

    def settle(self) -> None:
        """Hand the steps to the members."""
        settle(self._rows, self._optimizers, self._steps)

    def _ratios(self, weights: Tensor, move: Tensor, begin: int) -> Tensor:
        """Length of each parameter over that of its move, for each of its values: [K, P]; 1 where either is 0."""
        slots = [slot for slot in self._rows.slots if begin <= slot.begin < begin + weights.shape[1]]
        sizes = [slot.end - slot.begin for slot in slots]
        ratios = []
        for mine, its in zip(weights.split(sizes, 1), move.split(sizes, 1), strict=True):  # type: ignore[no-untyped-call]
            length, way = mine.norm(dim=1, keepdim=True), its.norm(dim=1, keepdim=True)
            ratios.append(torch.where((length > 0) & (way > 0), length / way, 1.0).expand_as(mine))
        return torch.cat(ratios, dim=1)
