"""Huber's loss."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trainables.losses.loss import by_sample, wide

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True, slots=True)
class Huber:
    """Half the squared error up to ``delta``, in the target's units, and ``delta`` (error - ``delta`` / 2) beyond (Huber, 1964).

    Outputs [B, K] (or [B]) against targets of as many values: a value a sample [B], averaged over its values. Outliers pull with
    a force of ``delta`` at most.
    """

    delta: float = 1.0

    def __call__(self, output: Tensor, target: Tensor) -> Tensor:
        """Each sample's mean over its values, [B]."""
        from torch.nn import functional

        errors = functional.huber_loss(wide(output).reshape(target.shape), target, reduction="none", delta=self.delta)
        return by_sample(errors, len(target))

    def conflicts(self) -> Iterator[str]:
        """What is wrong with the settings."""
        yield from delta_conflicts("Huber", self.delta)


def delta_conflicts(name: str, delta: float) -> Iterator[str]:
    """What is wrong with the error at which the loss turns from square to straight."""
    if not 0 < delta < math.inf:
        yield f"{name} delta {delta} must be above 0 and finite: it is an error in the target's units, 1.0 is usual"
