"""What one model loses against another, sample by sample."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import TYPE_CHECKING

from trainables.ensemble_summary import Interval, bootstrapped

if TYPE_CHECKING:
    from torch import Tensor


def difference(
    reference: Tensor, other: Tensor, *, confidence: float = 0.95, draws: int = 2000, seed: int = 0
) -> Interval:
    """The mean of ``other`` less that of ``reference`` over the same samples, each [N], with its interval.

    What is 1 or 0 a sample (right or wrong) has Tango's score interval (1998), which has a width even where no sample differs, as
    Wilson's has for one share alone; anything else the percentile bootstrap's over samples. Raises ValueError for no sample, and
    for different ones.
    """
    if reference.shape != other.shape or reference.ndim != 1 or not len(reference):
        raise ValueError(
            f"values of shapes {tuple(reference.shape)} and {tuple(other.shape)}; give one a sample, [N] twice"
        )
    before, after = reference.detach().cpu().double(), other.detach().cpu().double()
    if bool((((before == 0) | (before == 1)) & ((after == 0) | (after == 1))).all()):
        gained, lost = int((after > before).sum()), int((after < before).sum())
        low, high = tango(gained, lost, len(before), confidence)
        return Interval(value=(gained - lost) / len(before), low=low, high=high)
    (found,) = bootstrapped((after - before).unsqueeze(1), confidence, draws, seed)
    return found


def tango(gained: int, lost: int, samples: int, confidence: float) -> tuple[float, float]:
    """Tango's interval (1998) for the difference of two paired shares: ``gained`` samples are right in the second alone.

    The ends are the differences at which the score test is just not significant, found by bisection.
    """
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    return (_root(gained, lost, samples, z), _root(gained, lost, samples, -z))


def _root(gained: int, lost: int, samples: int, level: float) -> float:
    """Where the score statistic, which falls as the difference grows, is ``level``."""
    low, high = -1.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        if _score(gained, lost, samples, middle) > level:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _score(gained: int, lost: int, samples: int, difference: float) -> float:
    """How far, in standard errors, the data are above this ``difference``, with the share of lost ones at its likeliest."""
    linear = difference * (2 * samples - gained + lost) - gained - lost
    constant = -lost * difference * (1 - difference)
    share = (math.sqrt(max(0.0, linear**2 - 8 * samples * constant)) - linear) / (4 * samples)
    variance = samples * (2 * share + difference * (1 - difference))
    off = gained - lost - samples * difference
    if variance <= 0:
        return math.copysign(math.inf, off) if off else 0.0
    return off / math.sqrt(variance)


__all__ = ["Interval", "difference", "tango"]
