"""Sign flips: the closed form against the definition, by brute force and by property."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from analysis.signflip import (
    DRAWS,
    EXACT_UP_TO,
    Array,
    compare,
    fewest_seeds,
    mean_interval,
    sign_patterns,
)

ALPHA = 0.05


def studentised(d: Array) -> float:
    """T of one row by its definition: 0/0 is 0, x/0 is infinite."""
    mean, n = float(d.mean()), len(d)
    spread = float(np.square(d - mean).sum())
    if spread <= 1e-12 * float(np.square(d).sum()):
        return 0.0 if abs(mean) < 1e-12 else np.inf
    return abs(mean) / np.sqrt(spread / (n - 1) / n) if n > 1 else np.inf


def p_by_definition(d: Array, pair: int, delta: float, *, joint: bool, centred: bool = False) -> float:
    """The share of all 2^n flips whose largest |T*| is at least the pair's |T|, its differences being shifted by delta."""
    shifted = d - d.mean(1, keepdims=True) if centred else d.copy()
    shifted[pair] = d[pair] - delta
    observed = studentised(shifted[pair])
    rows = range(len(d)) if joint else [pair]
    count = 0
    for signs in itertools.product((1.0, -1.0), repeat=d.shape[1]):
        largest = max(studentised(shifted[row] * np.array(signs)) for row in rows)
        count += largest >= observed * (1 - 1e-9)
    return float(count / 2 ** d.shape[1])


def joint_p_by_definition(d: Array, pair: int, delta: float) -> float:
    """The larger of the two: the other pairs as they are, and centred."""
    return max(p_by_definition(d, pair, delta, joint=True, centred=centred) for centred in (False, True))


def pair_differences(scores: Array) -> Array:
    """All differences a - b [pairs, n] of scores [levels, n]."""
    first, second = np.triu_indices(len(scores), 1)
    differences: Array = scores[first] - scores[second]
    return differences


@pytest.mark.parametrize("n", [1, 2, 5, 6, 7])
@pytest.mark.parametrize("levels", [2, 3])
@pytest.mark.parametrize("ties", [False, True])
def test_p_values_are_shares_of_all_flips(n: int, levels: int, ties: bool) -> None:
    scores = np.random.default_rng(n).standard_normal((levels, n)) + np.arange(levels)[:, None]
    d = pair_differences(np.round(scores) / 30 if ties else scores)
    test = compare(d, alpha=ALPHA)
    for pair in range(len(d)):
        assert test.p[pair] == pytest.approx(p_by_definition(d, pair, 0.0, joint=False))
        assert test.p_adjusted[pair] == pytest.approx(joint_p_by_definition(d, pair, 0.0))


@pytest.mark.parametrize("alpha", [0.05, 0.2])
@pytest.mark.parametrize("seed", range(4))
def test_the_interval_holds_exactly_the_shifts_that_are_not_rejected(alpha: float, seed: int) -> None:
    generator = np.random.default_rng(seed)
    d = pair_differences(generator.standard_normal((3, 6)) * [[1.0], [1.0], [3.0]] + [[0.0], [0.5], [4.0]])
    test = compare(d, alpha=alpha)
    for pair in range(len(d)):
        low, high, width = test.low[pair], test.high[pair], test.high[pair] - test.low[pair]
        grid = np.linspace(low - 0.4 * width, high + 0.4 * width, 23)
        near_ends = [low + 1e-6, low - 1e-6, high - 1e-6, high + 1e-6]
        for delta in [*grid, *near_ends]:
            inside = low <= delta <= high
            assert inside == (joint_p_by_definition(d, pair, delta) > alpha), (pair, delta, low, high)


def test_the_closed_form_of_a_flip_equals_the_t_statistic_of_the_flipped_data() -> None:
    d = np.array([[0.4, 1.1, -0.2, 0.9, 0.7, 0.6, 1.4]])
    test = compare(d, alpha=ALPHA)
    assert test.mean[0] / test.se[0] == pytest.approx(studentised(d[0]))
    assert test.p[0] == 4 / 128  # the identity, and the flip of the one negative seed; each with its mirror image


finite = st.floats(-100, 100).map(lambda x: round(x, 3))
coarse = st.integers(-3, 3).map(float)


@given(
    data=st.data(),
    pairs=st.integers(1, 5),
    n=st.integers(1, 9),
    element=st.sampled_from([finite, coarse, st.just(0.0), st.just(2.5)]),
    alpha=st.sampled_from([0.01, 0.05, 0.1, 0.3]),
)
@settings(max_examples=300, deadline=None)
def test_p_and_interval_never_disagree(
    data: st.DataObject, pairs: int, n: int, element: st.SearchStrategy[float], alpha: float
) -> None:
    d = data.draw(arrays(np.float64, (pairs, n), elements=element))
    test = compare(d, alpha=alpha)
    assert ((test.p_adjusted <= alpha + 1e-12) == test.distinguishable).all()
    assert (test.low <= test.mean + 1e-9).all()
    assert (test.high >= test.mean - 1e-9).all()
    assert (test.p <= test.p_adjusted).all()
    assert (test.p >= 2.0 ** (1 - n)).all()
    if n < fewest_seeds(alpha):
        assert np.isneginf(test.low).all()
        assert np.isposinf(test.high).all()


@given(
    d=arrays(np.float64, (3, 7), elements=finite),
    scale=st.floats(1e-6, 1e6),
)
@settings(max_examples=100, deadline=None)
def test_mirror_scale_and_order_of_seeds_do_not_matter(d: Array, scale: float) -> None:
    test = compare(d, alpha=ALPHA)
    mirrored = compare(-scale * d[:, ::-1], alpha=ALPHA)
    np.testing.assert_allclose(mirrored.high, -scale * test.low, rtol=1e-7, atol=1e-7 * scale)
    np.testing.assert_allclose(mirrored.p_adjusted, test.p_adjusted)


@pytest.mark.parametrize("seeds", range(1, 6))
def test_with_five_seeds_or_fewer_everything_is_unbounded(seeds: int) -> None:
    d = np.full((3, seeds), 5.0) + np.arange(seeds) / 100
    test = compare(d, alpha=ALPHA)
    assert np.isinf(test.low).all()
    assert np.isinf(test.high).all()
    assert not test.distinguishable.any()


def test_the_fewest_seeds_follow_from_the_count_of_flips() -> None:
    assert [fewest_seeds(alpha) for alpha in (0.5, 0.05, 0.0125, 0.01)] == [2, 6, 8, 8]
    for alpha in (0.05, 0.02, 0.0125, 0.01):
        fewest = fewest_seeds(alpha)
        assert compare(np.ones((1, fewest)), alpha=alpha).distinguishable.all()
        assert not compare(np.ones((1, fewest - 1)), alpha=alpha).distinguishable.any()


def test_pairs_without_variance_keep_to_the_rules() -> None:
    identical, constant = np.zeros(8), np.full(8, 0.97) - np.full(8, 0.96)
    test = compare(np.stack([identical, constant, np.arange(8.0) - 3.0]), alpha=ALPHA)
    assert test.p[0] == test.p_adjusted[0] == 1.0
    assert (test.low[0], test.high[0]) == (0.0, 0.0)
    assert test.p[1] == test.p_adjusted[1] == 2 / 256
    assert test.low[1] == pytest.approx(0.01)
    assert test.high[1] == pytest.approx(0.01)
    assert not test.distinguishable[2]


def test_leading_axes_are_data_sets_of_their_own() -> None:
    d = np.random.default_rng(3).standard_normal((2, 4, 3, 8))
    together = compare(d, alpha=ALPHA)
    for i, j in itertools.product(range(2), range(4)):
        alone = compare(d[i, j], alpha=ALPHA)
        np.testing.assert_allclose(together.low[i, j], alone.low)
        np.testing.assert_array_equal(together.p_adjusted[i, j], alone.p_adjusted)


def test_more_comparisons_never_make_a_pair_clearer() -> None:
    d = np.random.default_rng(5).standard_normal((6, 8)) + 0.8
    few, many = compare(d[:2], alpha=ALPHA), compare(d, alpha=ALPHA)
    assert (many.p_adjusted[:2] >= few.p_adjusted).all()
    assert (many.high[:2] >= few.high).all()
    np.testing.assert_array_equal(many.p[:2], few.p)


@pytest.mark.parametrize("n", [1, 2, 6, EXACT_UP_TO])
def test_all_patterns_up_to_a_mirror_image(n: int) -> None:
    patterns = sign_patterns(n)
    assert patterns.shape == (2 ** (n - 1), n)
    assert len(np.unique(np.concatenate([patterns, -patterns]), axis=0)) == 2**n
    assert (patterns[0] == 1).all()


def test_above_thirteen_seeds_a_fixed_sample_with_the_identity() -> None:
    patterns = sign_patterns(16)
    assert patterns.shape == (DRAWS + 1, 16)
    assert (patterns[0] == 1).all()
    assert (patterns[:, 0] == 1).all()
    np.testing.assert_array_equal(patterns, sign_patterns(16))
    assert np.abs(patterns[:, 1:].mean(0)).max() < 0.05
    d = np.random.default_rng(0).standard_normal((3, 16)) + 0.3
    test = compare(d, alpha=ALPHA)
    assert ((test.p_adjusted <= ALPHA) == test.distinguishable).all()


def test_a_sample_agrees_with_all_flips() -> None:
    d = np.random.default_rng(2).standard_normal((3, 13)) + 0.3
    every = compare(d, alpha=ALPHA)
    generator = np.random.default_rng(1)
    sample = np.where(generator.random((5_000, 13)) < 0.5, -1.0, 1.0)
    sample[0] = 1.0
    some = compare(d, alpha=ALPHA, patterns=sample)
    np.testing.assert_allclose(some.p_adjusted, every.p_adjusted, atol=5 * np.sqrt(0.25 / 5_000))


def test_a_level_alone_has_the_interval_of_its_own_flips() -> None:
    scores = np.array([0.97, 0.98, 0.96, 0.975, 0.972, 0.969, 0.981, 0.967])
    low, high = mean_interval(scores, alpha=ALPHA)
    assert low < scores.mean() < high
    for delta, inside in ((low + 1e-9, True), (high - 1e-9, True), (low - 1e-6, False), (high + 1e-6, False)):
        assert (p_by_definition(scores[None], 0, delta, joint=False) > ALPHA) == inside
    assert mean_interval(scores[:5], alpha=ALPHA) == (-np.inf, np.inf)


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(ValueError, match="diverged"):
        compare(np.array([[1.0, np.nan]]), alpha=ALPHA)
    with pytest.raises(ValueError, match="at least one seed"):
        sign_patterns(0)
