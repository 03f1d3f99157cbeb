"""Position encodings: what tells a transformer which step is which."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class LearnedPositions(nn.Module):
    """x [B, T, W] plus a learned vector for each step, for at most ``longest`` steps. Parameters: longest W."""

    def __init__(self, longest: int, width: int) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.randn(longest, width) * 0.02)

    def forward(self, x: Tensor) -> Tensor:
        steps, longest = x.shape[1], self.table.shape[0]
        if steps > longest:
            raise ValueError(
                f"a sequence of {steps} steps is longer than the {longest} that positions were learned for; "
                'set longest, or positions="sinusoidal"'
            )
        return x + self.table[:steps]


class SinusoidalPositions(nn.Module):
    """x [B, T, W] plus sines and cosines of wavelengths from 2 pi to 10000 2 pi, for any T (Vaswani et al., 2017)."""

    def forward(self, x: Tensor) -> Tensor:
        steps, width = x.shape[1:]
        # Single precision at least: bfloat16 could not tell step 257 from step 256.
        dtype = torch.promote_types(x.dtype, torch.float32)
        place = torch.arange(steps, dtype=dtype, device=x.device).unsqueeze(1)
        pairs = torch.arange(0, width, 2, dtype=dtype, device=x.device)
        angles = place * torch.exp(pairs * (-math.log(10000.0) / width))
        waves = torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)
        return x + waves.to(x.dtype)
