"""Layers that compute for all members of a pack at once, in place of torch's own."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from trainables.fused.drops import own_rate, vary
from trainables.fused.recurrent import plain, write_out
from trainables.losses.loss import wide
from trainables.models.attention import Attention


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
        # No view, which could not be written in place afterwards.
        return out if x.ndim == 3 else torch.ops.aten._unsafe_view.default(out, [*x.shape[:-1], weight.shape[1]])

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
    ``linear`` layers are one product of matrices for all members. Layers stay what they are but for how they compute, so that all
    that refers to them (a second name, a list, a hook) finds that too.
    """
    base = copy.deepcopy(module).requires_grad_(False)
    for part in list(base.modules()):
        forward = _forward(part, linear=linear)
        if own_rate(part):
            vary(part)
        elif plain(part):
            write_out(part, product if linear else functional.linear)
        elif forward is not None:
            part.forward = forward
    return base


def dropping(base: nn.Module) -> list[str]:
    """The names of the layers of ``base`` that drop out at a rate of each member's own."""
    return [name for name, part in base.named_modules() if own_rate(part)]


def _forward(part: nn.Module, *, linear: bool) -> Callable[[Tensor], Tensor] | None:
    """How a layer computes for all members, where that is not how it does anyhow."""
    if "forward" in vars(part):
        return None
    if type(part) is Attention:
        return partial(_attended, part)
    if type(part) in (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d):
        return partial(_normed, type(part), part)
    if type(part) is nn.Embedding and part.padding_idx is not None:
        return partial(_looked_up, part)
    return partial(_linear, part) if linear and type(part) is nn.Linear else None


def _linear(part: nn.Linear, x: Tensor) -> Tensor:
    return product(x, part.weight, part.bias)


def product(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """``functional.linear`` for all members; left to itself, vmap makes a weight's gradient transposed and copies it back."""
    if torch.is_autocast_enabled(x.device.type):
        dtype = torch.get_autocast_dtype(x.device.type)
        x, weight, bias = x.to(dtype), weight.to(dtype), bias if bias is None else bias.to(dtype)
    out: Tensor = _Linear.apply(x, weight, bias)  # type: ignore[no-untyped-call]
    return out


class Padding(TorchFunctionMode):
    """Within, an embedding with a ``padding_idx`` is an error: vmap keeps that row from training in the first member alone."""

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """The function, unless it is such. Raises ValueError."""
        given = dict(zip(("input", "weight", "padding_idx"), args, strict=False)) | dict(kwargs or {})
        if func in (functional.embedding, functional.embedding_bag) and given.get("padding_idx") is not None:
            raise ValueError(f"{func.__name__} with a padding_idx keeps that row from training in one member alone")
        return func(*args, **(kwargs or {}))


def _normed(kind: type[nn.Module], part: nn.Module, input: Tensor) -> Tensor:  # noqa: A002  # as torch names it
    """A batch norm, in the type of its statistics: left to itself vmap takes no input of another, which autocast gives it."""
    return cast("Tensor", kind.forward(part, wide(input))).to(input.dtype)


def _looked_up(part: nn.Embedding, input: Tensor) -> Tensor:  # noqa: A002
    """An embedding of which one row learns nothing, written out."""
    out = functional.embedding(input, part.weight, None, part.max_norm, part.norm_type, part.scale_grad_by_freq)
    return torch.where(input.eq(part.padding_idx or 0).unsqueeze(-1), out.detach(), out)


def _attended(part: Attention, x: Tensor) -> Tensor:
    """``Attention`` written out."""
    batch, steps, width = x.shape
    # Taken apart where they lie, their gradients are put together there, and not exchanged by one more copy.
    mixed = part.mix(x).view(batch, steps, 3, part.heads, width // part.heads).unbind(2)
    query, key, value = (each.transpose(1, 2) for each in mixed)
    scores = (query / math.sqrt(width // part.heads)) @ key.transpose(-2, -1)
    if part.causal:
        hidden = torch.ones(steps, steps, dtype=torch.bool, device=x.device).triu(1)
        scores = scores.masked_fill(hidden, -math.inf)
    seen = part.dropout(scores.softmax(-1)) @ value
    out: Tensor = part.out(seen.transpose(1, 2).reshape(batch, steps, width))
    return out
