"""Focal loss: easy samples count less."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trainables.losses.cross_entropy import weights_conflicts
from trainables.losses.loss import by_sample, classes_of, values_of, wide

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True, slots=True)
class Focal:
    """-alpha (1 - p)^gamma log p with p the probability given to the truth (Lin et al., 2017): a value a sample [B], in nats.

    Softmax over logits [B, C, ...] against classes [B, ...]; with ``binary`` a sigmoid of each logit [B, K] (or [B]) against as
    many targets 0 or 1. ``alpha`` is one weight a class, or, with ``binary``, the weight of positives against 1 - alpha of
    negatives. A sample's value is the mean over its positions, and the mean is over samples, not over ``alpha`` or positives
    alone. ``gamma`` 0 is cross-entropy.

    Calling it raises ValueError when there are not as many weights as classes, or when softmax has a single logit.
    """

    gamma: float = 2.0
    alpha: float | tuple[float, ...] | None = None
    binary: bool = False

    def __call__(self, output: Tensor, target: Tensor) -> Tensor:
        """Each sample's mean over its positions, [B]."""
        log_p, log_rest, alpha = (self._sigmoid if self.binary else self._softmax)(wide(output), target)
        # By its logarithm: the slope of (1 - p)^gamma itself is infinite at p = 1 for gamma below 1.
        values = -(self.gamma * log_rest).exp() * log_p
        return by_sample(values if alpha is None else alpha * values, len(target))

    def _softmax(self, output: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Logarithms of the truth's probability and of all others', and the weights: each [B, ...]."""
        if output.shape[1] < 2:
            raise ValueError(
                "Focal has one logit, of which a softmax is always 1; set binary=True, or give one logit a class"
            )
        at = target.unsqueeze(1)
        whole = output.logsumexp(1)
        log_p = output.gather(1, at).squeeze(1) - whole
        log_rest = output.scatter(1, at, -math.inf).logsumexp(1) - whole
        if not isinstance(self.alpha, tuple):
            return log_p, log_rest, None
        if len(self.alpha) != output.shape[1]:
            raise ValueError(
                f"Focal alpha has {len(self.alpha)} weights for {output.shape[1]} outputs; give one a class"
            )
        return log_p, log_rest, output.new_tensor(self.alpha)[target]

    def _sigmoid(self, output: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """The same for single logits."""
        from torch.nn import functional

        positive = target.to(output.dtype)
        towards = output.reshape(target.shape) * (2 * positive - 1)
        log_p, log_rest = functional.logsigmoid(towards), functional.logsigmoid(-towards)
        if not isinstance(self.alpha, float | int):
            return log_p, log_rest, None
        return log_p, log_rest, self.alpha * positive + (1 - self.alpha) * (1 - positive)

    def outputs(self, targets: Sequence[Tensor]) -> int:
        """One logit an answer with ``binary``, else one a class."""
        if self.binary:
            return values_of(targets)
        return len(self.alpha) if isinstance(self.alpha, tuple) else classes_of(targets)

    def conflicts(self) -> Iterator[str]:
        """What is wrong with the settings."""
        if not 0 <= self.gamma < math.inf:
            yield f"Focal gamma {self.gamma} must not be negative, and finite; 2.0 is usual, 0 is cross-entropy"
        if self.alpha is None:
            return
        if not self.binary:
            if isinstance(self.alpha, tuple):
                yield from weights_conflicts("Focal alpha", self.alpha)
            else:
                yield f"Focal alpha {self.alpha!r} must be one weight a class, such as (1.0, 2.0); one number needs binary=True"
        elif isinstance(self.alpha, tuple) or not 0 < self.alpha < 1:
            yield f"Focal alpha {self.alpha!r} with binary must lie between 0 and 1: it is the positives' weight, 0.25 is usual"
