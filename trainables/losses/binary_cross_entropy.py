"""Cross-entropy of yes-or-no answers."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trainables.losses.loss import by_sample, values_of, wide

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True, slots=True)
class BinaryCrossEntropy:
    """Cross-entropy of logits [B, K] (or [B]) against as many targets from 0 to 1, whole or floating: a value a sample [B].

    In nats. Each of the K answers is a question of its own; a sample's value is their mean. ``positive_weight`` multiplies what
    positive targets contribute, not the divisor, as in ``torch.nn.functional.binary_cross_entropy_with_logits``; ``smoothing`` s
    turns a target y into y (1 - s) + s / 2.
    """

    positive_weight: float | None = None
    smoothing: float = 0.0

    def __call__(self, output: Tensor, target: Tensor) -> Tensor:
        """Each sample's mean over its answers, [B]."""
        from torch.nn import functional

        output = wide(output)
        wanted = target.to(output.dtype)
        if self.smoothing:
            wanted = wanted * (1 - self.smoothing) + self.smoothing / 2
        heavier = None if self.positive_weight is None else output.new_full((), self.positive_weight)
        values = functional.binary_cross_entropy_with_logits(
            output.reshape(target.shape), wanted, pos_weight=heavier, reduction="none"
        )
        return by_sample(values, len(target))

    def outputs(self, targets: Sequence[Tensor]) -> int:
        """One logit an answer, also where the answers are whole numbers."""
        return values_of(targets)

    def conflicts(self) -> Iterator[str]:
        """What is wrong with the settings."""
        if self.positive_weight is not None and not 0 < self.positive_weight < math.inf:
            yield (
                f"BinaryCrossEntropy positive_weight {self.positive_weight} must be above 0 and finite; "
                "the number of negative samples over that of positive ones is usual, None weighs both alike"
            )
        if not 0 <= self.smoothing <= 1:
            yield f"BinaryCrossEntropy smoothing {self.smoothing} must lie in [0, 1]: it is a share of the target, 0.1 is usual"
