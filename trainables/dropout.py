"""Dropout whose rate changes as the run goes on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, kw_only=True, slots=True)
class DropoutRamp:
    """A dropout rate that goes evenly from ``start`` to ``end`` over the run.

    Falling, the model is regularised while its gradients are rough and fits all it can at the end (annealed dropout, Rennie et al.,
    2014); rising, it is the other way round (curriculum dropout, Morerio et al., 2017).
    """

    start: float = 0.3
    end: float = 0.0

    def __call__(self, progress: float) -> float:
        """The rate at this progress, 0 at the run's start and 1 at its end."""
        return self.start + (self.end - self.start) * progress

    def conflicts(self) -> Iterator[str]:
        """What is wrong with the settings."""
        for name, rate in (("start", self.start), ("end", self.end)):
            if not 0 <= rate < 1:
                yield f"DropoutRamp {name} {rate} must lie in [0, 1): it is the share of values set to zero, 0.3 is usual"


def apply(module: nn.Module, rate: float) -> int:
    """Set the rate of every dropout in ``module``, in place; how many there are comes back.

    Counted are torch's dropout layers of all kinds, the dropout on the attention weights of nn.MultiheadAttention, and the one
    between the layers of nn.LSTM, nn.GRU and nn.RNN where there is more than one. A rate that a module of one's own hands to a
    function is not found. Raises ValueError for a rate outside [0, 1).
    """
    from torch import nn

    if not 0 <= rate < 1:
        raise ValueError(f"dropout rate {rate} must lie in [0, 1); 0 drops nothing")
    layers = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout)
    count = 0
    for part in module.modules():
        if isinstance(part, layers):
            part.p = rate
        elif isinstance(part, nn.MultiheadAttention) or (isinstance(part, nn.RNNBase) and part.num_layers > 1):
            part.dropout = rate
        else:
            continue
        count += 1
    return count
