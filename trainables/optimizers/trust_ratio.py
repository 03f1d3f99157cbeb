"""Adam whose steps are scaled to the weights' lengths, as a torch optimizer."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any, final

import torch
from torch import Tensor


@final
class TrustRatioAdam(torch.optim.Optimizer):
    """LAMB (You et al., 2020, algorithm 2, with phi the identity), one multi-tensor call for each operation.

    Each group needs ``weight_decay`` and ``adapted``: whether its parameters' steps are scaled by their trust ratio. The state of a
    parameter is ``step``, ``exp_avg`` and ``exp_avg_sq``, named as in torch's Adam. The host never waits for the device.
    """

    def __init__(self, groups: Iterable[dict[str, Any]], *, lr: float, betas: tuple[float, float], eps: float) -> None:
        super().__init__(groups, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": 0.0, "adapted": True})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Take one step from the gradients as they are; parameters without a gradient stay where they are.

        ``closure``, when given, is called first with gradients enabled, and its loss comes back.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameters in _alike(group["params"]):
                self._move(parameters, group)
        return loss

    def _move(self, parameters: list[Tensor], group: dict[str, Any]) -> None:
        beta1, beta2 = group["betas"]
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        states = [self._remembered(parameter) for parameter in parameters]
        first, second = [state["exp_avg"] for state in states], [state["exp_avg_sq"] for state in states]
        for state in states:
            state["step"] += 1
        torch._foreach_lerp_(first, gradients, 1 - beta1)
        torch._foreach_mul_(second, beta2)
        torch._foreach_addcmul_(second, gradients, gradients, 1 - beta2)
        divisors = torch._foreach_sqrt(second)
        torch._foreach_div_(divisors, [math.sqrt(1 - beta2 ** state["step"]) for state in states])
        torch._foreach_add_(divisors, group["eps"])
        moves = torch._foreach_div(first, divisors)
        torch._foreach_div_(moves, [1 - beta1 ** state["step"] for state in states])
        if group["weight_decay"]:
            torch._foreach_add_(moves, parameters, alpha=group["weight_decay"])
        if group["adapted"]:
            torch._foreach_mul_(moves, _ratios(parameters, moves))
        torch._foreach_add_(parameters, moves, alpha=-group["lr"])

    def _remembered(self, parameter: Tensor) -> dict[str, Any]:
        state: dict[str, Any] = self.state[parameter]
        if not state:
            state["step"] = 0
            state["exp_avg"] = torch.zeros_like(parameter, memory_format=torch.preserve_format)
            state["exp_avg_sq"] = torch.zeros_like(parameter, memory_format=torch.preserve_format)
        return state


def _ratios(parameters: list[Tensor], moves: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Length of each parameter over the length of its move, as scalars on the device; 1 where either is 0."""
    weights, lengths = torch.stack(torch._foreach_norm(parameters)), torch.stack(torch._foreach_norm(moves))
    return torch.where((weights > 0) & (lengths > 0), weights / lengths, 1.0).unbind()


def _alike(parameters: Iterable[Tensor]) -> Iterator[list[Tensor]]:
    """The parameters that have a gradient, those of one device and type together."""
    alike: dict[tuple[torch.device, torch.dtype], list[Tensor]] = {}
    for parameter in parameters:
        if parameter.grad is not None:
            alike.setdefault((parameter.device, parameter.dtype), []).append(parameter)
    yield from alike.values()
