"""The causal, dilated, weight-normed convolution."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class CausalConvolution(nn.Module):
    """[B, C, T] to [B, K, T]: output t sees the inputs t, t - d, … t - (k - 1) d, with zeros before the first.

    Each output channel's kernel is ``gain`` times the unit vector along ``direction`` (weight norm, Salimans and Kingma, 2016);
    both begin where torch's own convolution does. Parameters: k C K + 2 K.
    """

    def __init__(self, channels: int, outputs: int, kernel: int, dilation: int) -> None:
        super().__init__()
        start = nn.Conv1d(channels, outputs, kernel)
        self.direction = nn.Parameter(start.weight.detach().clone())
        self.gain = nn.Parameter(_lengths(self.direction.detach()))
        self.bias = start.bias
        self.dilation = dilation

    def forward(self, x: Tensor) -> Tensor:
        weight = self.gain * self.direction / _lengths(self.direction)
        reach = (weight.shape[-1] - 1) * self.dilation
        return functional.conv1d(functional.pad(x, (reach, 0)), weight, self.bias, dilation=self.dilation)

    def extra_repr(self) -> str:
        return f"{tuple(self.direction.shape)}, dilation={self.dilation}"


def _lengths(direction: Tensor) -> Tensor:
    """The length of each output channel's kernel, [K, C, k] to [K, 1, 1]."""
    lengths: Tensor = torch.linalg.vector_norm(direction, dim=(1, 2), keepdim=True)
    return lengths
