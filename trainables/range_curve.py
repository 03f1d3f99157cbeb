"""One sweep of a learning-rate range test: the losses made smooth, where they fall, and what that says of the rate."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import fmean, median

FIRST = 10
"""Losses whose mean is the level that a sweep began at."""

SURE = 4.0
"""Standard errors by which a loss must have fallen: it is the lowest of many places, and noise has a lowest place too."""

SLIGHT = 1e-3
"""A fall by less than this share of the loss is none, however little noise there is."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RangeCurve:
    """The loss over rising rates. ``losses`` are those after the step at each of the ``rates``, ``begun`` the one before the first.

    ``smooth`` are the losses smoothed, an exploded one counting as the threshold. ``steepest`` is the rate at which they fall most
    for each factor of the rate, ``lowest`` the rate at which they are lowest; ``reason`` says why one is None.
    """

    seed: int
    begun: float
    rates: tuple[float, ...]
    losses: tuple[float, ...]
    smooth: tuple[float, ...]
    exploded: bool
    steepest: float | None
    lowest: float | None
    reason: str | None


@dataclass(kw_only=True, slots=True)
class Watch:
    """Tells, loss by loss, when a sweep has exploded: how far its mean may rise is ``explosion`` times what it has fallen.

    The mean decays by ``decay`` a step and is divided by the weights it has seen (Kingma and Ba, 2015, for the same debiasing). At
    least the noise from step to step counts as fallen, so that a loss which is flat and noisy does not explode.
    """

    decay: float
    explosion: float
    losses: list[float] = field(default_factory=list)
    best: float = math.inf
    _sum: float = 0.0
    _weight: float = 0.0

    def exploded(self, loss: float) -> bool:
        """Take in the next loss; True once it is not finite, or the mean has risen beyond the threshold."""
        self.losses.append(loss)
        if not math.isfinite(loss):
            return True
        self._sum = self.decay * self._sum + (1 - self.decay) * loss
        self._weight = self.decay * self._weight + (1 - self.decay)
        mean = self._sum / self._weight
        self.best = min(self.best, mean)
        return len(self.losses) > 1 and mean > self.threshold

    @property
    def threshold(self) -> float:
        """The loss above which a sweep has exploded; infinity before the first finite one."""
        finite = [loss for loss in self.losses if math.isfinite(loss)]
        if not finite:
            return math.inf
        first = fmean(finite[:FIRST])
        return self.best + self.explosion * max(first - self.best, noise(finite), SLIGHT * abs(first))


def smoothed(losses: Sequence[float], decay: float) -> list[float]:
    """Means over both sides with weights ``decay`` ** distance, divided by the weights that there are.

    A mean over the past alone would lag: at a decay of 0.9 by nine steps, which on a rising rate is a place too far to the right.
    """
    before, after = _decayed(losses, decay), _decayed(losses[::-1], decay)[::-1]
    return [
        (left + right - loss) / (weight_left + weight_right - 1.0)
        for (left, weight_left), (right, weight_right), loss in zip(before, after, losses, strict=True)
    ]


def _decayed(losses: Sequence[float], decay: float) -> list[tuple[float, float]]:
    """For each place, the decayed sum of the losses up to it, and of the weights."""
    found, total, weight = [], 0.0, 0.0
    for loss in losses:
        total, weight = loss + decay * total, 1.0 + decay * weight
        found.append((total, weight))
    return found


def noise(losses: Sequence[float]) -> float:
    """The standard deviation of a loss around its trend, from the median step between neighbours; 0 below three losses."""
    if len(losses) < 3:
        return 0.0
    steps = [abs(later - earlier) for earlier, later in pairwise(losses)]
    return median(steps) / (0.6745 * math.sqrt(2))


def judged(
    *, seed: int, losses: Sequence[float], rates: Sequence[float], exploded: bool, threshold: float, decay: float
) -> RangeCurve:
    """The curve of a sweep: ``losses`` begin with the one before the first step, so they are one more than the ``rates`` taken."""
    capped = [loss if loss < threshold else threshold for loss in losses]  # a NaN is not below it
    known = all(map(math.isfinite, capped))
    smooth = smoothed(capped, decay) if known else list(capped)
    steepest, lowest, reason = (
        _places(smooth, capped, rates, exploded, decay) if known else (None, None, _unusable(losses))
    )
    return RangeCurve(
        seed=seed,
        begun=losses[0],
        rates=tuple(rates),
        losses=tuple(losses[1:]),
        smooth=tuple(smooth[1:]),
        exploded=exploded,
        steepest=steepest,
        lowest=lowest,
        reason=reason,
    )


def _unusable(losses: Sequence[float]) -> str:
    return f"the loss is {losses[0]} before the first step; look at the data, and at what the model begins with"


def _places(
    smooth: Sequence[float], losses: Sequence[float], rates: Sequence[float], exploded: bool, decay: float
) -> tuple[float | None, float | None, str | None]:
    """The steepest and the lowest rate, and what is missing."""
    low, high = figure(rates[0]), figure(rates[-1])
    if len(rates) < 3:
        return None, None, f"it diverges at once: {_grown(losses)} at {low}, the lowest rate; set low far below it"
    least = min(range(1, len(smooth)), key=lambda place: smooth[place])
    sure = max(SURE * _error(losses[: max(least + 1, 3)], decay), SLIGHT * abs(smooth[0]))
    fall = smooth[0] - smooth[least]
    if not fall > sure and (exploded or smooth[-1] - smooth[0] > sure):
        return None, None, f"it diverges without having learned: {_grown(losses)} at {high}; set low far below {low}"
    if not fall > sure:
        moved = f"the loss is flat: it falls by {max(fall, 0.0):.2g} between {low} and {high}, and up to {sure:.2g} is noise"
        return None, None, f"{moved}; raise high, or see whether the gradient reaches the weights"
    apart = math.log(rates[1] / rates[0])
    places = range(1, min(least + 1, len(smooth) - 1))
    slopes = {place: (smooth[place + 1] - smooth[place - 1]) / (2 * apart) for place in places}
    steepest = rates[min(slopes, key=lambda place: slopes[place]) - 1]
    if not exploded and least >= len(smooth) - 2:
        return steepest, None, f"the loss still falls at {high}, the highest rate; raise high"
    return steepest, rates[least - 1], None


def _grown(losses: Sequence[float]) -> str:
    return f"the loss grows from {losses[0]:.3g} to {losses[-1]:.3g} or more"


def _error(losses: Sequence[float], decay: float) -> float:
    """The standard error of the difference of a smooth loss at an end, where weights lie on one side, and one in the middle."""
    square = decay * decay
    end = (1 - decay) ** 2 / (1 - square)
    middle = (1 + square) / (1 - square) * ((1 - decay) / (1 + decay)) ** 2
    return noise(losses) * math.sqrt(end + middle)


def figure(rate: float) -> str:
    """A rate to two digits, ``2.5e-3``: it is never known better."""
    mantissa, exponent = f"{rate:.1e}".split("e")
    return f"{mantissa}e{int(exponent)}"
