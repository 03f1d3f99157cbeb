"""How many seeds it would take to tell two levels apart."""

from __future__ import annotations

import math

from analysis.student import beyond, shifted_tail, tail

MOST_SEEDS = 1_000
"""Beyond this many seeds a gap is called too small to be told."""


def equivalent_tests(critical: float, *, n: int, alpha: float, comparisons: int) -> float:
    """How many independent t-tests at ``alpha`` would ask for the critical value that the joint procedure did at n seeds.

    Between 1 and the number of comparisons, which is also the answer where the critical value is not finite.
    """
    if n < 2 or not math.isfinite(critical):
        return float(comparisons)
    return min(float(comparisons), max(1.0, alpha / (2 * tail(critical, n - 1))))


def power(n: int, *, effect: float, alpha: float, tests: float) -> float:
    """The chance that n seeds show an ``effect`` (gap over the sd of the paired differences), by noncentral t.

    ``tests`` is what ``equivalent_tests`` gives: each is made two-sided at alpha / tests.
    """
    critical = beyond(alpha / (2 * tests), n - 1)
    return shifted_tail(critical, n - 1, abs(effect) * math.sqrt(n))


def seeds_needed(*, effect: float, alpha: float, tests: float, fewest: int, wanted: float = 0.8) -> int | None:
    """The fewest seeds, from ``fewest`` on, which show the effect with the wanted power; None above ``MOST_SEEDS``."""
    if power(MOST_SEEDS, effect=effect, alpha=alpha, tests=tests) < wanted:
        return None
    low, high = max(2, fewest), MOST_SEEDS
    while low < high:
        middle = (low + high) // 2
        if power(middle, effect=effect, alpha=alpha, tests=tests) >= wanted:
            high = middle
        else:
            low = middle + 1
    return low
