"""Losses: called with (output, target), they give one value a sample or the mean."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

Loss = Callable[["Tensor", "Tensor"], "Tensor"]
"""(output [B, ...], target [B, ...]) -> one value a sample [B], or their mean (a scalar). Functions of torch.nn.functional fit."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CrossEntropy:
    """Mean cross-entropy of logits [B, C] against classes [B], in nats."""

    def __call__(self, output: Tensor, target: Tensor) -> Tensor:
        from torch.nn import functional

        return functional.cross_entropy(output, target)


@dataclass(frozen=True, kw_only=True, slots=True)
class MeanSquaredError:
    """Mean squared error of outputs [B, K] (or [B]) against targets of as many values, averaged over values and samples."""

    def __call__(self, output: Tensor, target: Tensor) -> Tensor:
        from torch.nn import functional

        return functional.mse_loss(output.reshape(target.shape), target)
