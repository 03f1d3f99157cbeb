"""Two losses together."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trainables.losses.loss import Loss, conflicts_of, counted, outputs, weighs

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class Sum:
    """``first`` + ``weight`` * ``then``, of the same output and target; either may be a sum again. A value a sample [B].

    A sample counts in both what it counts in ``first``: one that is ignored there is left out of ``then`` as well. Calling it
    raises ValueError for a loss that gives nothing but the mean over its batch.
    """

    first: Loss
    then: Loss
    weight: float = 1.0

    def __call__(self, output: Tensor, target: Tensor) -> Tensor:
        """Each sample's sum, weighted as in ``first``, [B]."""
        values, weights = counted(self.first, output, target)
        others, counts = counted(self.then, output, target)
        share = weights / counts.where(counts > 0, 1.0)
        return values + self.weight * (others * share.to(others.dtype))

    def weights(self, target: Tensor) -> Tensor:
        """What each sample counts in ``first``, [B]."""
        import torch

        if weighs(self.first):
            return self.first.weights(target)
        return torch.ones(len(target), dtype=torch.float64, device=target.device)

    def outputs(self, targets: Sequence[Tensor]) -> int:
        """As many as ``first`` needs."""
        return outputs(self.first, targets)

    def conflicts(self) -> Iterator[str]:
        """What is wrong with the two and their weight."""
        yield from conflicts_of(self.first)
        yield from conflicts_of(self.then)
        if not 0 <= self.weight < math.inf:
            yield f"Sum weight {self.weight} must not be negative, and finite; 0 leaves the second loss out"
