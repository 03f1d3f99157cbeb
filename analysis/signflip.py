"""Sign flips of paired differences: p-values and simultaneous intervals from one procedure.

Two levels trained on the same seeds differ by d_1 ... d_n. If they are equal in distribution, each d_s is as likely as
-d_s, so every pattern of signs is an equally likely data set. The statistic is studentised, T = mean / (sd / sqrt(n)),
and the patterns are shared by all comparisons, so that its maximum over the comparisons keeps their dependence (max-T;
Westfall and Young, *Resampling-Based Multiple Testing*, 1993).

A flip keeps the sum of squares S = sum of d_s^2, so with the flipped mean m* its T* needs no second pass:
T*^2 = (n - 1) n m*^2 / (S - n m*^2), where 0/0 is 0 and x/0 is infinite.

The interval of a pair holds every shift delta which the test of "the true difference is delta" does not reject. It has a
closed form: only that pair's differences shift, and for delta above the mean a flip is at least as extreme as what was
observed exactly when delta <= u. Here u is the largest of the mean over the seeds which the flip turns, the mean over
those it keeps (over no seed at all: infinite), and mean + R se, R being its largest T* among the other pairs. So
p(delta) is the share of u that reach delta, and of F flips the (floor(alpha F) + 1)-th largest u is the upper end. The
lower end is its mirror image.

R depends on what is true of the other pairs. Flipped as they are, they stand for "the others are equal": a true equality
is then rejected with probability alpha at most, whatever else differs. But others that differ much all flip alike, their
largest T* is too small, and six levels far apart would be covered jointly only 75-87 % of the time where it says 95. So R
is taken a second time with the other pairs centred at their observed differences, and the larger p, with the wider
interval, counts (docs/statistics.md has the figures).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

EXACT_UP_TO = 13
"""The number of seeds up to which all 2^n flips are used (8,192); above, a fixed random sample."""

DRAWS = 9_999
"""How many random flips are drawn above that; the identity is added."""

_NO_VARIANCE = 1e-12  # of the sum of squares: what rounding leaves of a variance that is zero
_TIE = 1e-9  # of the largest difference: an end this close to zero is zero
_NOTHING = 1e-300
_BLOCK = 100_000  # elements of one work array, so that the ten or so of a call stay in the cache


@dataclass(frozen=True, kw_only=True, slots=True)
class FlipTest:
    """The outcome for each of P pairs; every array is [..., P] with the leading axes of the differences.

    ``p`` looks at a pair alone, ``p_adjusted`` at all pairs jointly. ``low`` and ``high`` are simultaneous, infinite
    where unbounded: ``p_adjusted <= alpha`` exactly when they exclude 0. ``se`` is the mean's standard error (0 for one
    seed).
    """

    mean: Array
    se: Array
    p: Array
    p_adjusted: Array
    low: Array
    high: Array

    @property
    def distinguishable(self) -> NDArray[np.bool_]:
        """True where the interval excludes 0."""
        return (self.low > 0) | (self.high < 0)


def sign_patterns(n: int, *, draws: int = DRAWS) -> Array:
    """The flips of n seeds as an array [F, n] of +1 and -1, the identity first.

    The first seed's sign is always +1: a pattern and its negative give the same T* up to its sign, so each row stands for
    both and shares are unchanged. All 2^(n-1) rows up to ``EXACT_UP_TO`` seeds; above, ``draws`` of them by a fixed
    generator, besides the identity. Raises ValueError for n < 1.
    """
    if n < 1:
        raise ValueError(f"n is {n}: sign flips need at least one seed; give differences with a last axis of 1 or more")
    if n <= EXACT_UP_TO:
        bits = (np.arange(2 ** (n - 1))[:, None] << 1) >> np.arange(n) & 1
    else:
        bits = np.random.default_rng(20_260_101).integers(0, 2, size=(draws + 1, n))
        bits[0] = 0
        bits[:, 0] = 0
    patterns: Array = np.where(bits == 1, -1.0, 1.0)
    return patterns


def fewest_seeds(alpha: float) -> int:
    """The fewest seeds with which anything can be told apart: the identity and its mirror image alone are 2 of 2^n flips."""
    return max(1, math.ceil(1 + math.log2(1 / alpha) - 1e-9))


def compare(differences: Array, *, alpha: float, patterns: Array | None = None) -> FlipTest:
    """Test and invert for P pairs at once, with family-wise error ``alpha``.

    ``differences`` is [..., P, n]: pair by seed, the same seeds for all pairs; leading axes are data sets of their own.
    ``patterns`` is what ``sign_patterns(n)`` gives, which is the default. Values have to be finite (ValueError).
    """
    *lead, pairs, n = differences.shape
    if not np.isfinite(differences).all():
        raise ValueError("differences hold NaN or infinity; leave diverged finals out before comparing")
    signs = sign_patterns(n) if patterns is None else patterns
    flat = differences.reshape(-1, pairs, n)
    size = max(1, _BLOCK // max(1, pairs * len(signs)))
    parts = [_compare_block(flat[i : i + size], signs, alpha) for i in range(0, len(flat), size)]
    columns = [np.concatenate(column).reshape(*lead, pairs) for column in zip(*parts, strict=True)]
    mean, se, p, p_adjusted, low, high = columns
    return FlipTest(mean=mean, se=se, p=p, p_adjusted=p_adjusted, low=low, high=high)


def mean_interval(scores: Array, *, alpha: float) -> tuple[float, float]:
    """The interval of a mean from its n scores alone, by the same inversion; infinite below ``fewest_seeds(alpha)``."""
    test = compare(np.asarray(scores, dtype=float)[None, :], alpha=alpha)
    return float(test.low[0]), float(test.high[0])


def _compare_block(d: Array, signs: Array, alpha: float) -> tuple[Array, ...]:
    """One block [B, P, n] of data sets, in the order of FlipTest's fields."""
    n = d.shape[-1]
    mean = d.mean(-1)
    centred = d - mean[..., None]
    variance_sum = np.square(centred).sum(-1)
    squares = np.square(d).sum(-1)
    constant = variance_sum <= _NO_VARIANCE * squares
    variance_sum = np.where(constant, 0.0, variance_sum)
    centred = np.where(constant[..., None], 0.0, centred)
    se = np.sqrt(variance_sum / (max(n - 1, 1) * n))
    inner, outer = _subset_means(d, mean, signs)
    tie = np.maximum(_TIE * np.abs(d).max(-1), _NOTHING * 1e50)
    p = _share_beyond_zero(mean, inner, outer, tie)
    p_adjusted, low, high = p, np.full_like(p, np.inf), np.full_like(p, -np.inf)
    # A pair alone has no others, and both passes would be one.
    passes = ((d, squares), (centred, variance_sum))[: d.shape[-2]]
    for rows, sums in passes:
        # A positive number that is nothing stands for a zero se, since infinity times zero is no number.
        reach = _largest_other(_studentised(rows @ signs.T / n, sums, n)) * np.maximum(se, _NOTHING)[..., None]
        lower, upper = np.minimum(inner, mean[..., None] - reach), np.maximum(outer, mean[..., None] + reach)
        p_adjusted = np.maximum(p_adjusted, _share_beyond_zero(mean, lower, upper, tie))
        low_joint, high_joint = _ends(lower, upper, alpha, tie)
        low, high = np.minimum(low, low_joint), np.maximum(high, high_joint)
    return mean, se, p, p_adjusted, low, high


def _subset_means(d: Array, mean: Array, signs: Array) -> tuple[Array, Array]:
    """The smaller and the larger of the mean over the kept seeds and the mean over the flipped ones; [B, P, F] each.

    A flip that keeps all seeds reaches to minus and plus infinity.
    """
    n = signs.shape[1]
    kept = (signs > 0).sum(1)
    none_flipped = kept == n
    total, flipped_sum = n * mean[..., None], d @ signs.T
    mean_kept = (total + flipped_sum) / (2 * kept)
    mean_flipped = (total - flipped_sum) / (2 * np.maximum(n - kept, 1))
    inner = np.where(none_flipped, -np.inf, np.minimum(mean_kept, mean_flipped))
    outer = np.where(none_flipped, np.inf, np.maximum(mean_kept, mean_flipped))
    return inner, outer


def _studentised(flipped_mean: Array, squares: Array, n: int) -> Array:
    """The size of T* for every pair and flip [B, P, F], from the flipped means and the sums of squares [B, P]."""
    numerator = np.square(flipped_mean) * n
    spread = squares[..., None] - numerator
    none = spread <= _NO_VARIANCE * squares[..., None]
    degenerate = bool(none.any())
    if degenerate:
        spread[none] = 1.0
    t: Array = np.sqrt((n - 1) * numerator / spread)
    if degenerate:
        t[none] = np.where(numerator[none] > 0, np.inf, 0.0)
    return t


def _largest_other(t: Array) -> Array:
    """For each pair and flip the largest T* of the other pairs; 0 where there is no other."""
    if t.shape[-2] == 1:
        return np.zeros_like(t)
    top = np.partition(t, -2, axis=-2)[..., -2:, :]
    second, first = top[..., :1, :], top[..., 1:, :]
    # Where two pairs tie for the largest, the second equals the first, so equality needs no tie-breaking.
    return np.where(t < first, first, second)


def _share_beyond_zero(mean: Array, lower: Array, upper: Array, tie: Array) -> Array:
    """p at zero [B, P]: the share of flips whose end, on the far side of zero from the mean, reaches it."""
    ends_reach = np.where((mean > tie)[..., None], lower <= tie[..., None], upper >= -tie[..., None])
    share: Array = ends_reach.mean(-1)
    return share


def _ends(lower: Array, upper: Array, alpha: float, tie: Array) -> tuple[Array, Array]:
    """The ends of the interval [B, P] from those of each flip [B, P, F]; one that ties with zero is zero."""
    flips = lower.shape[-1]
    beyond = min(math.floor(alpha * flips + 1e-9), flips - 1)
    low = np.partition(lower, beyond, axis=-1)[..., beyond]
    high = np.partition(upper, flips - 1 - beyond, axis=-1)[..., flips - 1 - beyond]
    return np.where(np.abs(low) <= tie, 0.0, low), np.where(np.abs(high) <= tie, 0.0, high)
