"""Layers that compute for all members of a pack at once, in place of torch's own."""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from trainables.fused.recurrent import RowRecurrent, plain
from trainables.models.attention import Attention


class RowLinear(nn.Module):
    """A linear layer whose passes over all members are one product of matrices each.

    Left to itself, vmap makes the gradient of each weight transposed and copies it back. Names of parameters are nn.Linear's.
    """

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.weight, self.bias = layer.weight, layer.bias

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = _Linear.apply(x, self.weight, self.bias)  # type: ignore[no-untyped-call]
        return out


class RowDropout(nn.Module):
    """Dropout at a ``rate`` that is a buffer, so that each member of a pack has its own."""

    rate: Tensor

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.register_buffer("rate", torch.tensor(rate))

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        rate = self.rate.to(x.dtype)
        return x * (torch.rand_like(x) >= rate) / (1 - rate)


class RowAttention(nn.Module):
    """``Attention`` written out; names of parameters are the same."""

    def __init__(self, layer: Attention) -> None:
        super().__init__()
        self.mix, self.out, self.dropout = layer.mix, layer.out, layer.dropout
        self.heads, self.causal = layer.heads, layer.causal

    def forward(self, x: Tensor) -> Tensor:
        batch, steps, width = x.shape
        query, key, value = (
            self.mix(x).view(batch, steps, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4).unbind(0)
        )
        scores = query @ key.transpose(-2, -1) / math.sqrt(width // self.heads)
        if self.causal:
            hidden = torch.ones(steps, steps, dtype=torch.bool, device=x.device).triu(1)
            scores = scores.masked_fill(hidden, -math.inf)
        seen = self.dropout(scores.softmax(-1)) @ value
        out: Tensor = self.out(seen.transpose(1, 2).reshape(batch, steps, width))
        return out


class _Linear(torch.autograd.Function):
    """One member's linear layer, which is never computed: vmap hands all members over to ``_Linears``."""

    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return functional.linear(x, weight, bias)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        raise NotImplementedError("only under vmap")

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[int | None, ...], x: Tensor, weight: Tensor, bias: Tensor | None
    ) -> tuple[Tensor, int]:
        stacked = [
            None if tensor is None else _first(tensor, dim, info.batch_size)
            for tensor, dim in zip((x, weight, bias), in_dims, strict=True)
        ]
        return _Linears.apply(*stacked), 0  # type: ignore[no-untyped-call]


class _Linears(torch.autograd.Function):
    """x [K, ..., n], weight [K, m, n], bias [K, m] or None -> [K, ..., m]."""

    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        rows, across = x.flatten(1, -2) if x.ndim > 3 else x.view(len(x), -1, x.shape[-1]), weight.transpose(1, 2)
        out = torch.bmm(rows, across) if bias is None else torch.baddbmm(bias.unsqueeze(1), rows, across)
        return out.view(*x.shape[:-1], weight.shape[1])

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:  # noqa: ARG004
        x, weight, bias = inputs
        ctx.save_for_backward(x, weight)
        ctx.biased = bias is not None

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        rows, back = x.reshape(len(x), -1, x.shape[-1]), gradient.reshape(len(x), -1, weight.shape[1])
        to_x = torch.bmm(back, weight).view(x.shape) if ctx.needs_input_grad[0] else None
        to_weight = torch.bmm(back.transpose(1, 2), rows) if ctx.needs_input_grad[1] else None
        to_bias = back.sum(1) if ctx.biased and ctx.needs_input_grad[2] else None
        return to_x, to_weight, to_bias


def _first(tensor: Tensor, dim: int | None, members: int) -> Tensor:
    """The members along the first dimension; what all of them share is expanded."""
    return tensor.expand(members, *tensor.shape) if dim is None else tensor.movedim(dim, 0)


def base_of(module: nn.Module, *, linear: bool) -> nn.Module:
    """A copy of a member's module that stands for all of them: its own tensors are never used.

    Dropout has its rate as a buffer there; attention and recurrent layers, whose kernels vmap does not know, are written out;
    ``linear`` layers are exchanged where that is asked for.
    """
    return _exchanged(copy.deepcopy(module).requires_grad_(False), linear=linear)


def _exchanged(part: nn.Module, *, linear: bool) -> nn.Module:
    """The layer's counterpart, or itself with those inside it exchanged, the innermost first."""
    for name, child in list(part.named_children()):
        setattr(part, name, _exchanged(child, linear=linear))
    if type(part) is nn.Dropout:
        return RowDropout(part.p)
    if type(part) is Attention:
        return RowAttention(part)
    if isinstance(part, nn.GRU | nn.LSTM) and plain(part):
        return RowRecurrent(part)
    return RowLinear(part) if linear and type(part) is nn.Linear else part


def dropping(base: nn.Module) -> list[str]:
    """The names of the layers of ``base`` that drop out at a rate of each member's own."""
    return [name for name, part in base.named_modules() if isinstance(part, RowDropout)]
