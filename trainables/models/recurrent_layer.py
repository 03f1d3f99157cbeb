"""One layer of a recurrent network."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class RecurrentLayer(nn.Module):
    """All outputs of torch's own recurrent layer, then dropout: [B, T, F] to [B, T, W]. The state begins at zero.

    On a CPU it computes in its parameters' precision, whatever autocast says.
    """

    def __init__(self, cell: nn.LSTM | nn.GRU, dropout: float) -> None:
        super().__init__()
        self.cell = cell
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        # On many CPUs oneDNN has an LSTM in single precision only, and fails under mixed precision.
        with torch.autocast("cpu", enabled=False):
            out: Tensor = self.dropout(self.cell(x)[0])
        return out
