"""Adam, with either kind of weight decay."""

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
class Adam:
    """Adam (Kingma and Ba, 2015) with coupled (L2) weight decay: ``weight_decay`` times the weight is added to its gradient.

    The decay then passes through the moments and shrinks weights with large gradients less; ``AdamW`` decays all alike. Vectors
    (biases, norms) are decayed with ``decay_vectors`` only.
    """

    lr: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0
    decay_vectors: bool = False

    def build(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """torch's Adam over these parameters."""
        from torch import optim

        groups = decayed(parameters, weight_decay=self.weight_decay, decay_vectors=self.decay_vectors)
        one = fused(groups)
        return optim.Adam(groups, lr=self.lr, betas=self.betas, eps=self.eps, fused=one, foreach=not one)

    def conflicts(self) -> Iterator[str]:
        """What is wrong with the settings."""
        yield from limits.rates("Adam", self.lr, self.weight_decay)
        yield from limits.moments("Adam", self.betas, self.eps)


@dataclass(frozen=True, kw_only=True, slots=True)
class AdamW:
    """Adam with decoupled weight decay (Loshchilov and Hutter, 2019): each weight is first multiplied by 1 - lr * weight_decay.

    Vectors (biases, norms) are decayed with ``decay_vectors`` only.
    """

    lr: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.01
    decay_vectors: bool = False

    def build(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """torch's AdamW over these parameters."""
        from torch import optim

        groups = decayed(parameters, weight_decay=self.weight_decay, decay_vectors=self.decay_vectors)
        one = fused(groups)
        return optim.AdamW(groups, lr=self.lr, betas=self.betas, eps=self.eps, fused=one, foreach=not one)

    def conflicts(self) -> Iterator[str]:
        """What is wrong with the settings."""
        yield from limits.rates("AdamW", self.lr, self.weight_decay)
        yield from limits.moments("AdamW", self.betas, self.eps)
