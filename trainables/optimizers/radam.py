"""RAdam."""

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
class RAdam:
    """Rectified Adam (Liu et al., 2020): the first steps, whose second moment is too uncertain, are momentum steps without it.

    ``decoupled`` decay multiplies each weight by 1 - lr * weight_decay first, as AdamW does; otherwise it is added to the gradient
    (L2), as Adam does. Vectors (biases, norms) are decayed with ``decay_vectors`` only. torch has no fused kernel for it.
    """

    lr: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0
    decoupled: bool = True
    decay_vectors: bool = False

    def build(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """torch's RAdam over these parameters."""
        from torch import optim

        return optim.RAdam(
            decayed(parameters, weight_decay=self.weight_decay, decay_vectors=self.decay_vectors),
            lr=self.lr,
            betas=self.betas,
            eps=self.eps,
            decoupled_weight_decay=self.decoupled,
            foreach=True,
        )

    def conflicts(self) -> Iterator[str]:
        """What is wrong with the settings."""
        yield from limits.rates("RAdam", self.lr, self.weight_decay)
        yield from limits.moments("RAdam", self.betas, self.eps)
