"""LAMB, for large batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trainables.optimizers import limits
from trainables.optimizers.groups import parted

if TYPE_CHECKING:
    import torch
    from torch import nn


@dataclass(frozen=True, kw_only=True, slots=True)
class LAMB:
    """Adam's step, brought to the length of each parameter (You et al., 2020), so that the learning rate can grow with the batch.

    The decay joins the step and not the moments: with r Adam's step, a parameter w moves by -lr * |w| / |r + weight_decay * w|
    times (r + weight_decay * w); the ratio is 1 where a norm is 0. Vectors (biases, norms) are neither decayed nor brought to their
    length, as in the authors' code, unless ``decay_vectors`` says so: a bias that starts at 0 could hardly grow.
    """

    lr: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-6
    weight_decay: float = 0.01
    decay_vectors: bool = False

    def build(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """LAMB over these parameters."""
        from trainables.optimizers.trust_ratio import TrustRatioAdam

        matrices, vectors = (list(parameters), []) if self.decay_vectors else parted(parameters)
        groups = [
            {"params": matrices, "weight_decay": self.weight_decay, "adapted": True},
            {"params": vectors, "weight_decay": 0.0, "adapted": False},
        ]
        return TrustRatioAdam(
            [group for group in groups if group["params"]], lr=self.lr, betas=self.betas, eps=self.eps
        )

    def conflicts(self) -> Iterator[str]:
        """What is wrong with the settings."""
        yield from limits.rates("LAMB", self.lr, self.weight_decay)
        yield from limits.moments("LAMB", self.betas, self.eps)
