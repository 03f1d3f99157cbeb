"""How many seeds it takes, against simulation and the textbook."""

from __future__ import annotations

import math

import numpy as np
import pytest

from analysis.power import MOST_SEEDS, equivalent_tests, power, seeds_needed


def test_power_agrees_with_simulated_t_tests() -> None:
    from scipy.stats import t

    d = np.random.default_rng(0).standard_normal((20_000, 10)) + 0.9
    statistic = d.mean(1) / (d.std(1, ddof=1) / math.sqrt(10))
    simulated = float((statistic > t.isf(0.025 / 3, 9)).mean())
    assert power(10, effect=0.9, alpha=0.05, tests=3) == pytest.approx(simulated, abs=5 * math.sqrt(0.25 / 20_000))


def test_the_textbooks_number_of_pairs() -> None:
    # Cohen's d of 0.5, two-sided 0.05, power 0.8: 34 pairs (G*Power, "difference between two dependent means").
    assert seeds_needed(effect=0.5, alpha=0.05, tests=1, fewest=6) == 34


def test_fewer_seeds_for_larger_gaps_and_more_for_more_comparisons() -> None:
    needed = [seeds_needed(effect=effect, alpha=0.05, tests=1, fewest=6) or 0 for effect in (0.3, 0.6, 1.2)]
    assert needed == sorted(needed, reverse=True)
    assert needed[0] > needed[-1]
    assert (seeds_needed(effect=0.5, alpha=0.05, tests=15, fewest=6) or 0) > 34
    assert seeds_needed(effect=100.0, alpha=0.05, tests=1, fewest=9) == 9
    assert seeds_needed(effect=0.01, alpha=0.05, tests=1, fewest=6) is None


def test_the_answer_is_the_first_that_suffices() -> None:
    needed = seeds_needed(effect=0.2, alpha=0.05, tests=5, fewest=6)
    assert needed is not None
    assert needed < MOST_SEEDS
    assert power(needed, effect=0.2, alpha=0.05, tests=5) >= 0.8
    assert power(needed - 1, effect=0.2, alpha=0.05, tests=5) < 0.8


def test_equivalent_tests_lie_between_one_and_the_comparisons() -> None:
    from scipy.stats import t

    assert equivalent_tests(float(t.isf(0.025 / 4, 7)), n=8, alpha=0.05, comparisons=15) == pytest.approx(4)
    assert equivalent_tests(0.1, n=8, alpha=0.05, comparisons=15) == 1
    assert equivalent_tests(1e9, n=8, alpha=0.05, comparisons=15) == 15
    assert equivalent_tests(math.inf, n=8, alpha=0.05, comparisons=15) == 15
    assert equivalent_tests(2.0, n=1, alpha=0.05, comparisons=15) == 15
