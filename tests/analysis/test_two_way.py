"""Intervals of differences over runs and samples hold what they say, in either design."""

from __future__ import annotations

import math

import numpy as np
import pytest

from analysis.two_way import difference


def covered(*, crossed: bool, runs: int, samples: int, by_run: float, by_sample: float, trials: int = 400) -> float:
    """The share of intervals that hold a planted effect of 0.3, where it varies by run, by sample and by both."""
    drawn = np.random.default_rng(5)
    held = 0
    for _ in range(trials):
        rows = by_run * drawn.standard_normal((runs, 1)) + drawn.standard_normal((runs, samples))
        columns = drawn.standard_normal((1 if crossed else runs, samples))
        found = difference(list(0.3 + rows + by_sample * columns), crossed=crossed)
        held += found.low <= 0.3 <= found.high
    return held / trials


@pytest.mark.parametrize("crossed", [True, False], ids=["same samples", "samples of their own"])
@pytest.mark.parametrize(("by_run", "by_sample"), [(0.5, 0.0), (0.0, 3.0), (0.3, 3.0)])
def test_they_hold_the_effect_as_often_as_they_say(crossed: bool, by_run: float, by_sample: float) -> None:
    share = covered(crossed=crossed, runs=6, samples=60, by_run=by_run, by_sample=by_sample)
    assert share > 0.95 - 4 * math.sqrt(0.05 * 0.95 / 400)


def test_samples_that_all_share_count() -> None:
    """Runs that agree to the last digit on few samples say nothing of other samples."""
    noisy = np.random.default_rng(1).standard_normal(20) + 0.2
    rows = [noisy, noisy, noisy + 1e-3]
    apart, shared = difference(rows, crossed=False), difference(rows, crossed=True)
    assert apart.told
    assert not shared.told
    assert shared.value == apart.value == pytest.approx(noisy.mean() + 1e-3 / 3)
    assert (shared.runs, shared.samples, shared.crossed) == (3, 20, True)


def test_ends_of_what_is_known() -> None:
    one = difference([[0.1, 0.2]], crossed=True)
    assert (one.low, one.high, one.told) == (-math.inf, math.inf, False)
    exact = difference([[0.5, 0.5], [0.5, 0.5]], crossed=True)
    assert (exact.low, exact.value, exact.high) == (0.5, 0.5, 0.5)
    none = difference([[0.0] * 9] * 4, crossed=True)
    assert not none.told


def test_with_runs_of_their_own_it_is_student_s_interval() -> None:
    found = difference([[1.0], [2.0], [3.0]], crossed=False)
    assert (found.low, found.high) == pytest.approx((2 - 4.30265 / math.sqrt(3), 2 + 4.30265 / math.sqrt(3)), rel=1e-5)


def test_what_does_not_fit_is_refused() -> None:
    for rows in ([], [[], [1.0]], [[1.0], [1.0, 2.0]]):
        with pytest.raises(ValueError, match="differences of"):
            difference(rows, crossed=True)
