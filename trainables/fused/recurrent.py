"""Recurrent layers step by step, for all members of a pack at once."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TypeGuard

import torch
from torch import Tensor, nn

Product = Callable[[Tensor, Tensor, Tensor | None], Tensor]
"""What torch's ``functional.linear`` computes."""

State = Tensor | tuple[Tensor, Tensor]
"""The state of a GRU, [1, B, W]; of an LSTM that and its cell."""


def plain(layer: nn.Module) -> TypeGuard[nn.GRU | nn.LSTM]:
    """True for a single layer that reads one way."""
    if type(layer) not in (nn.GRU, nn.LSTM) or not isinstance(layer, nn.GRU | nn.LSTM):
        return False
    return layer.num_layers == 1 and not layer.bidirectional and not layer.proj_size and layer.dropout == 0


def write_out(layer: nn.GRU | nn.LSTM, product: Product) -> None:
    """Let the layer go step by step, in place: torch's own kernels compute for one member alone."""
    part: nn.Module = layer
    part.forward = partial(_read, layer, product)


def _read(layer: nn.GRU | nn.LSTM, product: Product, x: Tensor, begin: State | None = None) -> tuple[Tensor, State]:
    """What torch's layer gives for a batch of sequences: outputs and last state. Raises ValueError for a single sequence.

    The inputs' part of all steps is one ``product``, the state's part is one a step.
    """
    if x.ndim != 3:
        raise ValueError(f"{type(layer).__name__} of {x.ndim} dimensions")
    if layer.batch_first:
        x = x.transpose(0, 1)
    shift, at_each_step = _bias(layer, "bias_ih_l0"), _bias(layer, "bias_hh_l0")
    if isinstance(layer, nn.LSTM) and shift is not None and at_each_step is not None:
        shift, at_each_step = shift + at_each_step, None  # both are added to the same
    given = product(x, _own(layer, "weight_ih_l0"), shift)
    state, cell = _begun(x, layer.hidden_size, begin)
    seen = []
    for step in given.unbind(0):
        mixed = product(state, _own(layer, "weight_hh_l0"), at_each_step)
        if isinstance(layer, nn.GRU):
            state = _gated(step, mixed, state)
        else:
            state, cell = _remembered(step + mixed, cell)
        seen.append(state)
    last = state.unsqueeze(0)
    outputs = torch.stack(seen, 1 if layer.batch_first else 0)
    return outputs, last if isinstance(layer, nn.GRU) else (last, cell.unsqueeze(0))


def _begun(x: Tensor, width: int, begin: State | None) -> tuple[Tensor, Tensor]:
    """The first state and cell, [B, W] each: zeros where none are given."""
    if begin is None:
        state = x.new_zeros(x.shape[1], width)
        return state, state
    if isinstance(begin, Tensor):
        return begin.squeeze(0), begin.squeeze(0)
    return begin[0].squeeze(0), begin[1].squeeze(0)


def _own(layer: nn.Module, name: str) -> Tensor:
    tensor: Tensor = getattr(layer, name)  # no Parameter while a pack stands in for it
    return tensor


def _bias(layer: nn.GRU | nn.LSTM, name: str) -> Tensor | None:
    return _own(layer, name) if layer.bias else None


def _gated(given: Tensor, mixed: Tensor, state: Tensor) -> Tensor:
    """The next state of a GRU, as torch defines it."""
    reset, update, fresh = given.chunk(3, -1)
    its_reset, its_update, its_fresh = mixed.chunk(3, -1)
    candidate = torch.tanh(fresh + torch.sigmoid(reset + its_reset) * its_fresh)
    return candidate + torch.sigmoid(update + its_update) * (state - candidate)


def _remembered(gates: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
    """The next state and cell of an LSTM."""
    enter, forget, fresh, leave = gates.chunk(4, -1)
    cell = torch.sigmoid(forget) * cell + torch.sigmoid(enter) * torch.tanh(fresh)
    return torch.sigmoid(leave) * torch.tanh(cell), cell
