"""The recurrent layer with Hebbian traces of several time constants."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class PlasticLayer(nn.Module):
    """A tanh recurrence whose weights change while it runs, [B, T, F] to [B, T, H]; dropout follows the outputs.

    h_t = tanh(U x_t + b + (W + sum_m A_m * P_m,t-1) h_t-1), element by element in the product with A_m;
    P_m,t = (1 - r_m) P_m,t-1 + r_m h_t h_t-1ᵀ, both from zero.

    U, b, W (slow), A_m (how plastic each connection is) and the rates r_m in (0, 1) are learned by gradient descent and stay as
    they are within a sequence; the traces P, [B, M, H, H], belong to each sample and fade over about 1 / r_m steps, at first
    ``time_constants``. One trace is differentiable plasticity (Miconi et al., 2018); several let fast and slow memories exist at
    once. A trace is a running mean of products of values within (-1, 1), so it stays within (-1, 1).
    Parameters: F H + H + H² (1 + M) + M.
    """

    def __init__(self, inputs: int, width: int, time_constants: tuple[float, ...], dropout: float) -> None:
        super().__init__()
        self.drive = nn.Linear(inputs, width)
        bound = 1 / math.sqrt(width)
        self.slow = nn.Parameter(torch.empty(width, width).uniform_(-bound, bound))
        self.plasticity = nn.Parameter(0.01 * torch.randn(len(time_constants), width, width))
        rates = torch.tensor([1 / constant for constant in time_constants])
        self.rate_logits = nn.Parameter(torch.logit(rates))
        self.dropout = nn.Dropout(dropout)

    @property
    def rates(self) -> Tensor:
        """How fast each trace follows, [M]."""
        return self.rate_logits.sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.dropout(self.run(x)[0])
        return out

    def run(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """All outputs before dropout [B, T, H], and the traces after the last step [B, M, H, H]."""
        drive = self.drive(x)
        h = drive.new_zeros(len(x), self.slow.shape[0])
        traces = self.plasticity.new_zeros(len(x), *self.plasticity.shape)
        rates = self.rates[:, None, None]
        outputs = []
        for u in drive.unbind(1):
            weights = self.slow + (self.plasticity * traces).sum(1)
            following = torch.tanh(u + (weights @ h.unsqueeze(-1)).squeeze(-1))
            product = following.unsqueeze(-1) * h.unsqueeze(-2)
            traces = traces + rates * (product.unsqueeze(1) - traces)
            h = following
            outputs.append(h)
        return torch.stack(outputs, dim=1), traces
