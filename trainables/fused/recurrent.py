"""Recurrent layers step by step, for all members of a pack at once."""

from __future__ import annotations

from typing import TypeGuard

import torch
from torch import Tensor, nn
from torch.nn import functional


class RowRecurrent(nn.Module):
    """One layer of torch's GRU or LSTM, written out; names of parameters are the same.

    The inputs' part of all steps is one product, the state's part is one a step. Torch's own kernels compute for one member alone.
    """

    def __init__(self, layer: nn.GRU | nn.LSTM) -> None:
        super().__init__()
        for name, parameter in layer.named_parameters():
            self.register_parameter(name, parameter)
        self.gated, self.first, self.width, self.biased = (
            isinstance(layer, nn.GRU),
            layer.batch_first,
            layer.hidden_size,
            layer.bias,
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        if self.first:
            x = x.transpose(0, 1)
        given = functional.linear(x, self._own("weight_ih_l0"), self._bias("bias_ih_l0"))
        state = x.new_zeros(x.shape[1], self.width)
        cell, seen = state, []
        for step in given.unbind(0):
            mixed = functional.linear(state, self._own("weight_hh_l0"), self._bias("bias_hh_l0"))
            if self.gated:
                state = _gated(step, mixed, state)
            else:
                state, cell = _remembered(step + mixed, cell)
            seen.append(state)
        return torch.stack(seen, 1 if self.first else 0), state

    def _own(self, name: str) -> Tensor:
        tensor: Tensor = getattr(self, name)  # no Parameter while a pack stands in for it
        return tensor

    def _bias(self, name: str) -> Tensor | None:
        return self._own(name) if self.biased else None


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


def plain(layer: nn.Module) -> TypeGuard[nn.GRU | nn.LSTM]:
    """True for a single layer that reads one way."""
    if not isinstance(layer, nn.GRU | nn.LSTM):
        return False
    return layer.num_layers == 1 and not layer.bidirectional and not layer.proj_size and layer.dropout == 0
