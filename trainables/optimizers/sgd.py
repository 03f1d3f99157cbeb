"""Stochastic gradient descent."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trainables.optimizers import limits
from trainables.optimizers.groups import decayed, fused

if TYPE_CHECKING:
    import torch
    from torch import nn


@dataclass(frozen=True, kw_only=True, slots=True)
class SGD:
    """Stochastic gradient descent with momentum (Sutskever et al., 2013) and coupled (L2) weight decay.

    ``nesterov`` looks ahead along the momentum. Vectors (biases, norms) are decayed with ``decay_vectors`` only.
    """

    lr: float = 0.1
    momentum: float = 0.0
    nesterov: bool = False
    weight_decay: float = 0.0
    decay_vectors: bool = False

    def build(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """torch's SGD over these parameters."""
        from torch import optim

        groups = decayed(parameters, weight_decay=self.weight_decay, decay_vectors=self.decay_vectors)
        one = fused(groups)
        return optim.SGD(groups, lr=self.lr, momentum=self.momentum, nesterov=self.nesterov, fused=one, foreach=not one)

    def conflicts(self) -> Iterator[str]:
        """What is wrong with the settings."""
        yield from limits.rates("SGD", self.lr, self.weight_decay)
        if not 0 <= self.momentum < 1:
            yield f"SGD momentum {self.momentum} must lie in [0, 1); the usual one is 0.9"
        if self.nesterov and self.momentum == 0:
            yield "SGD nesterov needs momentum above 0; set momentum=0.9 or nesterov=False"
