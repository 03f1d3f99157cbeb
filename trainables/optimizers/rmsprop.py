"""RMSprop."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trainables.optimizers import limits
from trainables.optimizers.groups import decayed

if TYPE_CHECKING:
    import torch
    from torch import nn


@dataclass(frozen=True, kw_only=True, slots=True)
class RMSprop:
    """RMSprop (Tieleman and Hinton, 2012): gradients divided by the root of their mean square, with coupled (L2) weight decay.

    ``alpha`` is the decay of that mean; ``centered`` subtracts the squared mean gradient from it (Graves, 2013). Vectors (biases,
    norms) are decayed with ``decay_vectors`` only. torch has no fused kernel for it.
    """

    lr: float = 1e-3
    alpha: float = 0.99
    eps: float = 1e-8
    momentum: float = 0.0
    centered: bool = False
    weight_decay: float = 0.0
    decay_vectors: bool = False

    def build(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """torch's RMSprop over these parameters."""
        from torch import optim

        return optim.RMSprop(
            decayed(parameters, weight_decay=self.weight_decay, decay_vectors=self.decay_vectors),
            lr=self.lr,
            alpha=self.alpha,
            eps=self.eps,
            momentum=self.momentum,
            centered=self.centered,
            foreach=True,
        )

    def conflicts(self) -> Iterator[str]:
        """What is wrong with the settings."""
        yield from limits.rates("RMSprop", self.lr, self.weight_decay)
        yield from limits.divisor("RMSprop", self.eps)
        if not 0 <= self.alpha < 1:
            yield f"RMSprop alpha {self.alpha} must lie in [0, 1); the usual one is 0.99"
        if not 0 <= self.momentum < 1:
            yield f"RMSprop momentum {self.momentum} must lie in [0, 1); 0 switches it off"
