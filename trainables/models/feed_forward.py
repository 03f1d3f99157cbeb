"""The pre-norm feed-forward block."""

from __future__ import annotations

from torch import nn

from trainables.models.activations import Activation, activation
from trainables.models.residual import Residual


def feed_forward(width: int, hidden: int, kind: Activation, dropout: float) -> Residual:
    """x + two linear layers of the layer norm of x, position by position: [..., W] to [..., W].

    Normalised before, not after, so that the sum runs through all blocks untouched (He et al., 2016; Xiong et al., 2020). Dropout
    follows both the activation and the second layer. Parameters: 2 W (norm) + (W + 1) H + (H + 1) W.
    """
    return Residual(
        nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, hidden),
            activation(kind),
            nn.Dropout(dropout),
            nn.Linear(hidden, width),
            nn.Dropout(dropout),
        )
    )
