"""Metrics: functions of (output, target) that give one value a sample; the loop takes the mean over the set."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def accuracy(output: Tensor, target: Tensor) -> Tensor:
    """1 where the largest logit [B, C] is the class [B], else 0. Ties go to the lower class."""
    return (output.argmax(dim=-1) == target).double()


def absolute_error(output: Tensor, target: Tensor) -> Tensor:
    """Absolute error [B], averaged over the values of a sample, in the target's units."""
    return (
        (output.reshape(target.shape) - target)
        .abs()
        .flatten(1 if target.ndim > 1 else 0)
        .reshape(len(target), -1)
        .mean(1)
    )
