"""Cost to reach the target, and who is sooner."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.finals import Finals, gather
from analysis.ledger import Goal
from analysis.records import Scalar, Stage, TrialRecord
from analysis.target import arrival, compare_speed, cost_to_target, like_with_like, median_interval
from tests.analysis.asked import asked
from tests.planted import planted_record, planted_records

GOAL = Goal(metric="accuracy", mode="max", target=0.9)


def finals_of(records: Sequence[TrialRecord], levels: Sequence[Scalar] = (8,)) -> list[Finals]:
    """The finals of these levels."""
    return gather(asked(levels, seeds=8, target=0.9), records)


def test_the_first_row_at_the_target_counts() -> None:
    record = planted_record(level=8, stage=Stage.FINAL, seed=1, number=0, score=0.95, seconds=6.0)
    reached = next(row for row in record.history if row["val/accuracy"] >= 0.9)
    found = arrival(record, GOAL)
    assert found.reached
    assert (found.seconds, found.samples, found.steps) == (reached["seconds"], reached["samples"], reached["step"])
    assert reached["epoch"] < 6


def test_less_is_better_for_a_loss() -> None:
    record = planted_record(level=8, stage=Stage.FINAL, seed=1, number=0, score=0.95)
    found = arrival(record, Goal(metric="loss", mode="min", target=0.9))
    assert found.steps == 10 * next(row["epoch"] for row in record.history if row["val/loss"] <= 0.9)


def test_who_never_gets_there_costs_infinitely_much() -> None:
    record = planted_record(level=8, stage=Stage.FINAL, seed=1, number=0, score=0.89)
    found = arrival(record, GOAL)
    assert (found.reached, found.seconds) == (False, math.inf)


def test_seconds_are_unknown_where_any_row_lacks_them() -> None:
    record = planted_record(level=8, stage=Stage.FINAL, seed=1, number=0, score=0.95)
    holed = replace(record, history=[*record.history[:-1], {**record.history[-1], "seconds": None}])
    found = arrival(holed, GOAL)
    assert found.seconds is None
    assert found.steps == arrival(record, GOAL).steps
    (level,) = finals_of([record, replace(holed, id="x", seed=2)])
    cost = cost_to_target(level, GOAL, timed=True, confidence=0.95)
    assert cost is not None
    assert (cost.seconds, cost.interval) == (None, None)
    assert cost.steps == found.steps


def test_the_median_counts_those_that_never_arrive() -> None:
    scores = [0.95, 0.95, 0.95, 0.5, 0.5]
    records = planted_records({8: scores}, heats=0, seconds={8: [1.0, 2.0, 3.0, 4.0, 5.0]})
    (level,) = finals_of(records)
    cost = cost_to_target(level, GOAL, timed=True, confidence=0.9)
    assert cost is not None
    assert (cost.reached, cost.n) == (3, 5)
    arrivals = sorted(arrival(record, GOAL).seconds or 0 for record in records)
    assert cost.seconds == arrivals[2]
    assert cost.interval == (arrivals[0], None)  # 93.75 % at five values, so 0.9 has an interval and 0.95 none
    assert_none = cost_to_target(level, GOAL, timed=True, confidence=0.95)
    assert assert_none is not None
    assert assert_none.interval is None


def test_a_median_that_is_not_reached_is_none() -> None:
    (level,) = finals_of(planted_records({8: [0.95, 0.5, 0.5]}, heats=0))
    cost = cost_to_target(level, GOAL, timed=True, confidence=0.95)
    assert cost is not None
    assert (cost.seconds, cost.samples, cost.steps, cost.reached) == (None, None, None, 1)


def test_a_diverged_final_never_arrives_and_a_lost_one_does_not_count() -> None:
    records = planted_records({8: [0.95] * 4}, heats=0, diverged=[(8, 1)], failed=[(8, 2)])
    (level,) = finals_of(records)
    cost = cost_to_target(level, GOAL, timed=True, confidence=0.95)
    assert cost is not None
    assert (cost.reached, cost.n) == (2, 3)


def test_without_a_target_or_a_final_there_is_no_cost() -> None:
    (level,) = finals_of(planted_records({8: [0.95]}, heats=0))
    assert cost_to_target(level, Goal(metric="accuracy", mode="max"), timed=True, confidence=0.95) is None
    (empty,) = finals_of([])
    assert cost_to_target(empty, GOAL, timed=True, confidence=0.95) is None


@pytest.mark.parametrize("change", [{"lane": "crew"}, {"hardware": "another"}, {"lane": None}])
def test_seconds_of_two_lanes_or_machines_are_not_compared(change: dict[str, str]) -> None:
    records = planted_records({8: [0.95] * 2, 16: [0.95] * 2}, heats=0)
    assert like_with_like(finals_of(records, [8, 16]))
    records[-1] = replace(records[-1], **change)  # type: ignore[arg-type]
    assert not like_with_like(finals_of(records, [8, 16]))


@pytest.mark.parametrize(("n", "rank"), [(5, 0), (6, 1), (8, 1), (9, 2), (20, 6)])
def test_median_intervals_have_the_ranks_of_the_tables(n: int, rank: int) -> None:
    values = [float(i) for i in range(1, n + 1)]
    expected = None if rank == 0 else (float(rank), float(n + 1 - rank))
    assert median_interval(values, 0.95) == expected


@given(st.integers(1, 60), st.floats(0.5, 0.99))
def test_median_intervals_cover_by_the_binomial_and_are_the_narrowest(n: int, confidence: float) -> None:
    found = median_interval([float(i) for i in range(n)], confidence)
    rank = 0 if found is None or found[0] is None else int(found[0]) + 1

    def coverage(rank: int) -> float:
        return 1 - 2 * float(sum(math.comb(n, i) for i in range(rank)) / 2**n)

    if rank:
        assert coverage(rank) >= confidence - 1e-9
    assert coverage(rank + 1) < confidence or rank == n // 2


def test_speed_is_compared_by_ratio_slowest_first() -> None:
    generator = np.random.default_rng(0)
    centres: dict[Scalar, float] = {8: 1.0, 16: 4.0, 32: 2.0}
    seconds: dict[Scalar, list[float]] = {
        level: [float(x) for x in centre * np.exp(generator.normal(0, 0.05, 8))] for level, centre in centres.items()
    }
    records = planted_records(dict.fromkeys(centres, [0.95] * 8), heats=0, seconds=seconds)
    levels = finals_of(records, [8, 16, 32])
    pairs = compare_speed(levels, GOAL, range(1, 9), alpha=0.05)
    assert [(pair.a, pair.b) for pair in pairs] == [("16", "32"), ("16", "8"), ("32", "8")]
    for pair, ratio in zip(pairs, (2.0, 4.0, 2.0), strict=True):
        low, high = pair.interval
        assert low is not None
        assert high is not None
        assert low < pair.ratio < high
        assert pair.ratio == pytest.approx(ratio, rel=0.1)
        assert low > 1
        assert pair.p_adjusted <= 0.05
    logs = np.log(seconds[16]) - np.log(seconds[32])
    assert pairs[0].ratio == pytest.approx(math.exp(logs.mean()))


def test_a_level_that_misses_the_target_on_one_seed_is_left_out() -> None:
    records = planted_records({8: [0.95] * 8, 16: [0.95] * 7 + [0.5], 32: [0.95] * 8}, heats=0)
    pairs = compare_speed(finals_of(records, [8, 16, 32]), GOAL, range(1, 9), alpha=0.05)
    assert [{pair.a, pair.b} for pair in pairs] == [{"8", "32"}]
    assert pairs[0].ratio == 1.0
    assert pairs[0].p_adjusted == 1.0


def test_with_few_seeds_a_ratio_is_unbounded() -> None:
    records = planted_records({8: [0.95] * 3, 16: [0.95] * 3}, heats=0, seconds={8: [1, 2, 3], 16: [5, 6, 9]})
    (pair,) = compare_speed(finals_of(records, [8, 16]), GOAL, range(1, 4), alpha=0.05)
    assert pair.interval == (None, None)
    assert compare_speed(finals_of(records, [8, 16]), GOAL, [], alpha=0.05) == []
