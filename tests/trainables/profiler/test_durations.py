"""Counts, sums and quantiles against numpy's, also of more durations than are kept."""

from __future__ import annotations

import numpy as np
import pytest

from trainables.profiler.durations import KEPT, Durations, timings


def taken(values: list[float]) -> Durations:
    durations = Durations()
    for start in range(0, len(values), 1000):
        durations.take(values[start : start + 1000])
    return durations


def test_quantiles_are_numpy_s() -> None:
    values = np.random.default_rng(0).exponential(size=1000).tolist()
    found = taken(values).timing("data", 2 * sum(values), None)
    assert (found.p50, found.p95, found.p99) == pytest.approx(np.quantile(values, (0.5, 0.95, 0.99)), rel=1e-12)
    assert (found.count, found.least, found.greatest) == (1000, min(values), max(values))
    assert found.total == pytest.approx(sum(values))
    assert found.mean == pytest.approx(np.mean(values))
    assert found.share == pytest.approx(0.5)


def test_of_very_many_a_fair_choice_is_kept() -> None:
    """Rising values: keeping the first ones would put the median at a sixth."""
    count = 3 * KEPT
    found = taken([number / count for number in range(count)]).timing("data", 1.0, None)
    assert found.count == count
    assert (found.least, found.greatest) == (0.0, (count - 1) / count)
    assert found.p50 == pytest.approx(0.5, abs=0.02)
    assert found.p99 == pytest.approx(0.99, abs=0.005)


def test_phases_come_in_their_order_and_shares_add_up() -> None:
    durations = {"other": taken([1.0]), "forward": taken([2.0, 4.0]), "data": taken([3.0])}
    found = timings(durations, [{"data": 3.0, "forward": 3.0}, {"data": 5.0, "forward": 2.0}])
    assert [each.phase for each in found] == ["data", "forward", "other"]
    assert [each.share for each in found] == [0.3, 0.6, 0.1]
    assert [each.workers for each in found[:2]] == [(3.0, 5.0), (2.0, 3.0)]
    assert timings(durations, [{"data": 3.0}])[0].workers is None
