"""Adam, AdamW and SGD by torch's fused kernels, one call for the members that have the same settings but for their rates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import final

import torch
from torch import Tensor

from trainables.fused.rows import Rows
from trainables.fused.rules.blocks import Group, Span, add_decay, alike, column, decay, remembered, settle


@final
class _Rates:
    """The learning rates of this step. A kernel takes one for all; where they differ it makes moves at a rate of 1.

    ``decay`` is decoupled: it is part of the move.
    """

    def __init__(self, rows: Rows, spans: Sequence[Span], *, decay: bool) -> None:
        self._weights, self._spans, self._groups = rows.flat, spans, spans[0].groups
        self._decay = decay and any(group["weight_decay"] for span in spans for group in span.groups)
        self._moves: Tensor | None = None
        self._rates: list[float] = []

    def begin(self) -> tuple[Tensor, float]:
        """What the kernels are to change, [K, P], and at which rate."""
        self._rates = [group["lr"] for group in self._groups]
        if len(set(self._rates)) == 1:
            if self._decay:
                decay(self._spans, self._weights)
            return self._weights, self._rates[0]
        if self._moves is None:
            self._moves = torch.empty_like(self._weights)
        if not self._decay:
            return self._moves.zero_(), 1.0
        for span in self._spans:
            torch.mul(span.of(self._weights), -span.column("weight_decay", self._weights), out=span.of(self._moves))
        return self._moves, 1.0

    def end(self, changed: Tensor) -> None:
        """Make each member's move at its own rate, where that was not done."""
        if changed is self._moves:
            self._weights.addcmul_(changed, column(self._rates, changed))


def _parts(rows: Tensor, members: Sequence[int] | None) -> list[Tensor]:
    """The rows of these members; of None all as one tensor."""
    if members is None:
        return [rows]
    parts = rows.unbind(0)
    return [parts[member] for member in members]


@final
class Adams:
    """Adam's step, or AdamW's, as the groups say.

    To the kernel all rows are one tensor where all members have taken as many steps, else each is a tensor of its own.
    """

    def __init__(self, rows: Rows, optimizers: Sequence[torch.optim.Optimizer], spans: Sequence[Span]) -> None:
        self._rows, self._optimizers, self._spans = rows, optimizers, spans
        groups = spans[0].groups
        self._coupled = not groups[0]["decoupled_weight_decay"]
        self._rates = _Rates(rows, spans, decay=not self._coupled)
        self._kernel: Callable[..., None] = torch._fused_adam_
        tensors, steps = remembered(rows, optimizers, ("exp_avg", "exp_avg_sq"))
        self._steps = [step.to(rows.flat.device) for step in steps]
        self._first, self._second = tensors.values()
        self._alike: list[tuple[Group, list[int] | None]] = [*alike(groups, ("betas", "eps"))]
        if len(self._alike) == 1 and len(set(map(float, steps))) == 1:
            self._alike = [(groups[0], None)]
            self._steps = self._steps[:1]

    def step(self, gradient: Tensor) -> None:
        """Decay in one go, then one call for each set of members that are alike."""
        if self._coupled:
            add_decay(self._spans, self._rows.flat, gradient)
        torch._foreach_add_(self._steps, 1.0)
        changed, rate = self._rates.begin()
        for group, members in self._alike:
            beta1, beta2 = group["betas"]
            self._kernel(
                _parts(changed, members),
                _parts(gradient, members),
                _parts(self._first, members),
                _parts(self._second, members),
                [],
                self._steps if members is None else [self._steps[member] for member in members],
                lr=rate,
                beta1=beta1,
                beta2=beta2,
                weight_decay=0.0,
                eps=group["eps"],
                amsgrad=False,
                maximize=False,
            )
        self._rates.end(changed)

    def settle(self) -> None:
        """Hand the steps to the members."""
        members = len(self._rows)
        settle(self._rows, self._optimizers, self._steps * (members // len(self._steps)))


@final
class Descents:
    """SGD's step, with momentum or without."""

    def __init__(self, rows: Rows, optimizers: Sequence[torch.optim.Optimizer], spans: Sequence[Span]) -> None:
        self._rows, self._spans = rows, spans
        groups = spans[0].groups
        self._rates = _Rates(rows, spans, decay=False)
        # A momentum that begins at 0 is after its first step what torch sets it to then: the gradient itself.
        names = ("momentum_buffer",) if any(group["momentum"] for group in groups) else ()
        tensors, _ = remembered(rows, optimizers, names, counted=False)
        self._momenta = tensors.get("momentum_buffer")
        self._alike: list[tuple[Group, list[int] | None]] = [*alike(groups, ("momentum", "nesterov"))]
        if len(self._alike) == 1:
            self._alike = [(groups[0], None)]

    def step(self, gradient: Tensor) -> None:
        """Decay in one go, then one call for each set of members that are alike."""
        add_decay(self._spans, self._rows.flat, gradient)
        changed, rate = self._rates.begin()
        for group, members in self._alike:
            torch._fused_sgd_(
                _parts(changed, members),
                _parts(gradient, members),
                _parts(self._momenta, members) if self._momenta is not None and group["momentum"] else [],
                weight_decay=0.0,
                momentum=group["momentum"],
                lr=rate,
                dampening=0.0,
                nesterov=group["nesterov"],
                maximize=False,
                is_first_step=False,
            )
        self._rates.end(changed)

    def settle(self) -> None:
        """Nothing is counted."""
