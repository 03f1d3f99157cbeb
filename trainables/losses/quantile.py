"""Quantile regression."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from trainables.losses.loss import by_sample, values_of, wide

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True, slots=True)
class Quantile:
    """Pinball loss: an error e = target - output costs level * e above and (level - 1) * e below (Koenker and Bassett, 1978).

    Outputs [B, K, Q] (or flat, [B, K * Q]) hold a quantile for each of the ``levels`` of every target value [B, K] (or [B]): a
    value a sample [B], averaged over levels and values. Nothing keeps the quantiles of one value from crossing.
    """

    levels: tuple[float, ...] = (0.1, 0.5, 0.9)

    def __call__(self, output: Tensor, target: Tensor) -> Tensor:
        """Each sample's mean over its values and the levels, [B]."""
        import torch

        error = target.unsqueeze(-1) - wide(output).reshape(*target.shape, len(self.levels))
        levels = error.new_tensor(self.levels)
        return by_sample(torch.maximum(levels * error, (levels - 1) * error), len(target))

    def outputs(self, targets: Sequence[Tensor]) -> int:
        """One for each level of each value."""
        return values_of(targets) * len(self.levels)

    def conflicts(self) -> Iterator[str]:
        """What is wrong with the settings."""
        inside = all(0 < level < 1 for level in self.levels)
        if not self.levels or not inside or any(a >= b for a, b in pairwise(self.levels)):
            yield f"Quantile levels {self.levels} must ascend between 0 and 1, both left out; (0.1, 0.5, 0.9) is usual"
