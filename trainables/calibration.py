"""Calibration: whether a classifier that says 80 % is right in 80 of 100 cases, and what makes it so.

Probabilities are [N, C], rows summing to 1, against classes [N]; all is computed in double precision.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

BINS = 15
"""As in Guo et al. (2017)."""

LIMITS = (0.01, 100.0)
"""Between them lies every fitted temperature: without a mistake among the samples the likelihood has no maximum."""

HALVINGS = 50
"""From 9.2 in the logarithm to 1e-14."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Bin:
    """Samples whose confidence, the largest probability, lies above ``low`` and up to ``high``.

    ``confidence`` is their mean, ``accuracy`` the share that is right; both are None where ``count`` is 0.
    """

    low: float
    high: float
    confidence: float | None
    accuracy: float | None
    count: int


def reliability(probabilities: Tensor, target: Tensor, *, bins: int = BINS, adaptive: bool = False) -> tuple[Bin, ...]:
    """The reliability table: bins of equal width from 0 to 1, or with ``adaptive`` of as equal numbers of samples as can be.

    Adaptive bins follow the samples in the order of their confidence, so equal confidences may fall into two of them; there are
    never more than samples (Nguyen and O'Connor, 2015).
    """
    import torch

    confidence, predicted = _probabilities(probabilities, target).max(dim=1)
    right = (predicted == target).double()
    if adaptive:
        order = confidence.argsort(stable=True)
        groups = [group for group in order.tensor_split(bins) if len(group)]
        edges = [0.0, *(float(confidence[group[-1]]) for group in groups[:-1]), 1.0]
    else:
        edges = torch.linspace(0, 1, bins + 1, dtype=torch.float64).tolist()
        place = torch.bucketize(confidence, torch.tensor(edges[1:-1], dtype=torch.float64, device=confidence.device))
        groups = [torch.nonzero(place == number).squeeze(1) for number in range(bins)]
    return tuple(
        Bin(
            low=low,
            high=high,
            confidence=float(confidence[group].mean()) if len(group) else None,
            accuracy=float(right[group].mean()) if len(group) else None,
            count=len(group),
        )
        for low, high, group in zip(edges, edges[1:], groups, strict=False)
    )


def calibration_error(probabilities: Tensor, target: Tensor, *, bins: int = BINS, adaptive: bool = False) -> float:
    """Expected calibration error: the gap between confidence and accuracy of each bin, averaged over samples (Naeini et al., 2015).

    From 0 to 1. Of a perfectly calibrated classifier it is above 0 too, by chance: about as much as a bin's accuracy scatters.
    Values on sets of different size do not compare.
    """
    table = reliability(probabilities, target, bins=bins, adaptive=adaptive)
    gaps = (
        abs(row.confidence - row.accuracy) * row.count
        for row in table
        if row.confidence is not None and row.accuracy is not None
    )
    return sum(gaps) / len(target)


def brier(probabilities: Tensor, target: Tensor) -> float:
    """Brier score: squared distance between the probabilities and the truth, summed over classes, from 0 to 2 (Brier, 1950)."""
    from torch.nn import functional

    probabilities = _probabilities(probabilities, target)
    truth = functional.one_hot(target, probabilities.shape[1])
    return float((probabilities - truth).square().sum(1).mean())


def negative_log_likelihood(probabilities: Tensor, target: Tensor) -> float:
    """Mean -log p of the truth, in nats; infinite where the truth was given no chance at all."""
    return float(-_probabilities(probabilities, target).gather(1, target.unsqueeze(1)).log().mean())


def temperature(logits: Tensor, target: Tensor) -> float:
    """What logits [N, C] are to be divided by for the greatest likelihood: temperature scaling (Guo et al., 2017).

    Fit it on validation, not on training or test samples. Above 1 for an over-confident model; the predicted classes stay the same.
    Kept from 0.01 to 100. The likelihood's slope over the inverse only grows, so halving the interval finds its zero surely.
    """
    import torch

    logits = _checked(logits, target).detach()
    truth = logits.gather(1, target.unsqueeze(1)).mean()

    def too_sharp(inverse: float) -> bool:
        """True where the mean loss rises with the inverse: the expected logit is above the truth's."""
        return bool((torch.softmax(logits * inverse, 1) * logits).sum(1).mean() > truth)

    low, high = (math.log(1 / limit) for limit in reversed(LIMITS))
    if not too_sharp(math.exp(high)):
        return LIMITS[0]
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if too_sharp(math.exp(middle)) else (middle, high)
    return math.exp(-low)


def _probabilities(values: Tensor, target: Tensor) -> Tensor:
    """The same; raises ValueError also for what cannot be probabilities, such as logits."""
    values = _checked(values, target)
    if not ((values >= 0) & (values <= 1 + 1e-6)).all():
        raise ValueError("calibration of values outside 0 to 1; give probabilities, such as logits.softmax(1)")
    return values


def _checked(values: Tensor, target: Tensor) -> Tensor:
    """The values in double precision. Raises ValueError when shapes do not fit, or there is no sample."""
    if values.ndim != 2 or target.shape != values.shape[:1] or not len(target):
        raise ValueError(
            f"calibration of {tuple(values.shape)} against targets {tuple(target.shape)}; give [N, C] and classes [N], N from 1"
        )
    return values.double()
