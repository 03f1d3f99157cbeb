"""Squared error."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trainables.losses.loss import by_sample, wide

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True, slots=True)
class MeanSquaredError:
    """Squared error of outputs [B, K] (or [B]) against as many targets: a value a sample [B], the mean over its values."""

    def __call__(self, output: Tensor, target: Tensor) -> Tensor:
        """Each sample's mean squared error, [B]."""
        from torch.nn import functional

        errors = functional.mse_loss(wide(output).reshape(target.shape), target, reduction="none")
        return by_sample(errors, len(target))

    def conflicts(self) -> Iterator[str]:
        """There is nothing to set."""
        yield from ()
