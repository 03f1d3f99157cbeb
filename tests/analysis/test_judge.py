"""Planted ledgers through the judge: what is compared, how it is ranked, what is said about it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.judge import judge
from analysis.ledger import read_ledger, read_question
from analysis.records import Scalar, Stage, Status, TrialRecord
from analysis.signflip import mean_interval
from analysis.verdict import Verdict
from tests.analysis.asked import asked
from tests.planted import planted_folder, planted_question, planted_record, planted_records


def scores_of(means: Mapping[Scalar, float], *, n: int, sd: float = 0.004, seed: int = 0) -> dict[Scalar, list[float]]:
    """Scores around these means; what a seed does to all levels alike is larger than what it does to one."""
    generator = np.random.default_rng(seed)
    split = generator.normal(0, 0.01, n)
    return {level: [float(x) for x in mean + split + generator.normal(0, sd, n)] for level, mean in means.items()}


def groups(verdict: Verdict) -> dict[str, int]:
    """Rank groups by label, in the verdict's order."""
    return {level.label: level.rank_group for level in verdict.levels}


def test_a_clear_case_end_to_end(tmp_path: Path) -> None:
    scores = scores_of({16: 0.90, 32: 0.95, 64: 0.951}, n=8)
    folder = planted_folder(tmp_path / "planted", planted_records(scores), planted_question([16, 32, 64], seeds=8))
    verdict = judge(read_question(folder), read_ledger(folder))
    best, second = sorted((32, 64), key=lambda level: -np.mean(scores[level]))
    assert groups(verdict) == {str(best): 1, str(second): 1, "16": 2}
    first = verdict.levels[0]
    assert first.mean == pytest.approx(np.mean(scores[best]))
    assert first.interval == pytest.approx(mean_interval(np.array(scores[best]), alpha=0.05))
    assert first.scores == {str(i + 1): pytest.approx(x) for i, x in enumerate(scores[best])}
    assert (first.n, first.diverged, first.lost, first.heats, first.stopped) == (8, 0, 0, 4, 2)
    assert first.point == {"batch_size": best, "optimizer.lr": 1e-3}
    assert [(pair.a, pair.b) for pair in verdict.comparisons] == [
        (str(best), str(second)),
        (str(best), "16"),
        (str(second), "16"),
    ]
    for pair in verdict.comparisons:
        low, high = pair.interval
        assert low is not None
        assert high is not None
        assert low <= pair.difference <= high
        assert (low > 0) == (pair.p_adjusted <= 0.05)
        assert pair.p <= pair.p_adjusted
    assert verdict.confidence == 0.95
    assert [(look.seeds, look.alpha, look.taken) for look in verdict.looks] == [(8, 0.05, True)]
    assert "256 flips of 8 shared seeds" in verdict.method
    assert "3 comparisons" in verdict.method
    assert json.loads(json.dumps(verdict.to_json(), allow_nan=False))["sweep"] == "planted"


def test_less_is_better_turns_the_order_and_leaves_differences_raw() -> None:
    records = planted_records(scores_of({1: 0.90, 2: 0.95}, n=8))
    verdict = judge(asked([1, 2], seeds=8, mode="min"), records)
    assert groups(verdict) == {"1": 1, "2": 2}
    (pair,) = verdict.comparisons
    assert (pair.a, pair.b) == ("1", "2")
    assert pair.difference == pytest.approx(-0.05, abs=0.01)
    assert pair.interval[1] is not None
    assert pair.interval[1] < 0


@given(n=st.integers(6, 9), data=st.data())
@settings(max_examples=60, deadline=None)
def test_rank_groups_follow_from_the_comparisons(n: int, data: st.DataObject) -> None:
    levels = data.draw(st.integers(1, 5))
    rows = data.draw(st.lists(st.lists(st.integers(80, 99), min_size=n, max_size=n), min_size=levels, max_size=levels))
    scores: dict[Scalar, list[float]] = {i: [x / 100 for x in row] for i, row in enumerate(rows)}
    verdict = judge(asked(list(scores), seeds=n), planted_records(scores, heats=0))
    ranked = [level.mean or 0.0 for level in verdict.levels]
    assert ranked == sorted(ranked, reverse=True)
    apart = {(pair.a, pair.b): pair.p_adjusted <= 0.05 for pair in verdict.comparisons}
    leaders: list[str] = []
    for level in verdict.levels:
        joined = next((i for i, leader in enumerate(leaders) if not apart[leader, level.label]), None)
        # The first leader from whom a level cannot be told takes it in; nobody later may.
        if joined is None:
            leaders.append(level.label)
            assert level.rank_group == len(leaders)
        else:
            assert level.rank_group == joined + 1


def test_a_diverged_level_goes_last_the_more_the_further() -> None:
    scores = scores_of({16: 0.99, 32: 0.98, 64: 0.90, 128: 0.97}, n=8)
    diverged: list[tuple[Scalar, int]] = [(16, 1), (16, 2), (32, 5), (128, 3)]
    verdict = judge(asked([16, 32, 64, 128], seeds=8), planted_records(scores, diverged=diverged))
    assert groups(verdict) == {"64": 1, "32": 2, "128": 2, "16": 3}
    assert verdict.comparisons == []
    by_label = {level.label: level for level in verdict.levels}
    assert (by_label["16"].diverged, by_label["16"].n) == (2, 6)
    assert by_label["16"].mean == pytest.approx(np.mean(scores[16][2:]))
    assert by_label["16"].scores["1"] is None
    assert "3 others diverged, 16 in 2 of 8 finals" in verdict.answer


def test_a_level_that_only_ever_diverged_has_no_mean_and_is_very_last() -> None:
    scores = scores_of({16: 0.99, 32: 0.90, 64: 0.95}, n=6)
    diverged: list[tuple[Scalar, int]] = [*((16, seed) for seed in range(1, 7)), (64, 1)]
    verdict = judge(asked([16, 32, 64], seeds=6), planted_records(scores, diverged=diverged))
    assert list(groups(verdict)) == ["32", "64", "16"]
    assert verdict.levels[-1].mean is None
    assert verdict.levels[-1].interval is None
    assert verdict.levels[-1].diverged == 6


def test_a_completed_final_without_a_finite_score_counts_as_diverged() -> None:
    records = planted_records(scores_of({16: 0.99, 32: 0.90}, n=6))
    at = next(i for i, record in enumerate(records) if record.stage is Stage.FINAL and record.level["batch_size"] == 16)
    records[at] = replace(records[at], metrics={"test/accuracy": float("nan")})
    verdict = judge(asked([16, 32], seeds=6), records)
    assert list(groups(verdict)) == ["32", "16"]
    assert verdict.levels[-1].diverged == 1


def test_a_lost_final_takes_its_seed_out_for_all_and_that_is_said() -> None:
    scores = scores_of({16: 0.90, 32: 0.95}, n=8)
    verdict = judge(asked([16, 32], seeds=8), planted_records(scores, failed=[(16, 3)]))
    (pair,) = verdict.comparisons
    kept = [i for i in range(8) if i != 2]
    assert pair.difference == pytest.approx(np.mean([scores[32][i] - scores[16][i] for i in kept]))
    by_label = {level.label: level for level in verdict.levels}
    assert (by_label["16"].lost, by_label["16"].n, by_label["32"].n) == (1, 7, 8)
    assert "left out" in verdict.needs.why
    assert "seed 3" in verdict.needs.why
    assert verdict.looks[0].taken


def test_a_level_without_a_finished_final_does_not_stop_the_others() -> None:
    scores = scores_of({16: 0.90, 32: 0.95, 64: 0.97}, n=8)
    failed: list[tuple[Scalar, int]] = [(64, seed) for seed in range(1, 9)]
    verdict = judge(asked([16, 32, 64, 128], seeds=8), planted_records(scores, failed=failed))
    assert groups(verdict) == {"32": 1, "16": 2, "64": 3, "128": 3}
    assert len(verdict.comparisons) == 1
    assert "64 and 128 have no finished final (8 lost)" in verdict.answer


@pytest.mark.parametrize("n", [1, 2, 5])
def test_below_six_seeds_nothing_is_told_apart(n: int) -> None:
    scores = scores_of({16: 0.10, 32: 0.95, 64: 0.50}, n=n)
    verdict = judge(asked([16, 32, 64], seeds=n), planted_records(scores))
    assert set(groups(verdict).values()) == {1}
    assert all(pair.interval == (None, None) for pair in verdict.comparisons)
    assert verdict.smallest_detectable_gap is None
    assert verdict.needs.seeds == 6
    assert verdict.needs.why == "with fewer, no pattern of signs is rare enough at alpha 0.05"
    assert verdict.answer.startswith("Too few seeds to tell")


def test_too_few_seeds_so_far_are_judged_early_and_that_is_said() -> None:
    scores = scores_of({16: 0.90, 32: 0.95}, n=7)
    verdict = judge(asked([16, 32], seeds=12), planted_records(scores))
    assert not verdict.looks[0].taken
    assert "judged early, with 7 of the 12 seeds" in verdict.needs.why
    assert "so far 7 of 12 seeds" in verdict.answer


def test_looks_spend_alpha_and_seeds_beyond_a_look_wait() -> None:
    scores = scores_of({16: 0.90, 32: 0.95}, n=10)
    question = asked([16, 32], seeds=32, looks=[8, 16, 32])
    verdict = judge(question, planted_records(scores))
    assert [look.taken for look in verdict.looks] == [True, False, False]
    assert [look.alpha for look in verdict.looks] == pytest.approx([0.0125, 0.0125, 0.025])
    (pair,) = verdict.comparisons
    assert pair.difference == pytest.approx(np.mean(np.subtract(scores[32][:8], scores[16][:8])))
    assert "2 further seeds wait" in verdict.needs.why
    assert "alpha of 0.0125" in verdict.method
    wider = judge(asked([16, 32], seeds=8), planted_records({level: row[:8] for level, row in scores.items()}))
    assert pair.interval[0] is not None
    assert wider.comparisons[0].interval[0] is not None
    assert pair.interval[0] < wider.comparisons[0].interval[0]


def test_running_finals_are_absent() -> None:
    records = planted_records(scores_of({16: 0.90, 32: 0.95}, n=6))
    running = planted_record(level=16, stage=Stage.FINAL, seed=7, number=99, score=0.5, status=Status.RUNNING)
    assert judge(asked([16, 32], seeds=6), [*records, running]) == judge(asked([16, 32], seeds=6), records)


def test_no_final_and_an_empty_ledger_have_an_honest_answer() -> None:
    for records in ([], planted_records({16: [0.9], 32: [0.8]}, heats=3)[:2]):
        verdict = judge(asked([16, 32], seeds=8, target=0.9), records)
        assert verdict.answer == "No final has finished yet."
        assert [(level.n, level.mean, level.interval) for level in verdict.levels] == [(0, None, None)] * 2
        assert verdict.comparisons == []
        assert verdict.needs.seeds is None


def test_a_sweep_without_factors_has_one_level_and_no_comparison() -> None:
    records = [replace(record, level={}) for record in planted_records(scores_of({8: 0.95}, n=8))]
    verdict = judge(asked({}, seeds=8, target=0.9), records)
    (level,) = verdict.levels
    assert (level.label, level.rank_group, level.n) == ("planted", 1, 8)
    assert not level.level
    assert verdict.factor == ()
    assert verdict.comparisons == []
    assert verdict.answer.startswith("planted: 9")


def test_two_factors_make_one_level_a_combination() -> None:
    records = []
    for number, (batch, lr) in enumerate([(16, 1e-3), (16, 1e-2), (32, 1e-3), (32, 1e-2)]):
        for seed, score in enumerate(scores_of({0: 0.9 + 0.02 * number}, n=6, seed=number)[0], 1):
            record = planted_record(level=batch, stage=Stage.FINAL, seed=seed, number=10 * number + seed, score=score)
            records.append(replace(record, level={"batch_size": batch, "optimizer.lr": lr}))
    verdict = judge(asked({"batch_size": (16, 32), "optimizer.lr": (1e-3, 1e-2)}, seeds=6), records)
    assert verdict.levels[0].label == "32, 0.01"
    assert verdict.levels[0].level == {"batch_size": 32, "optimizer.lr": 0.01}
    assert len(verdict.comparisons) == 6


def test_what_was_varied_and_what_was_held_fixed() -> None:
    records = planted_records(scores_of({16: 0.9, 32: 0.95}, n=6))
    verdict = judge(asked([16, 32], seeds=6, varied=["init", "order"]), records)
    assert verdict.varied == ("init", "order")
    assert verdict.fixed == ("split", "the tuned point")
    assert judge(asked([16, 32], seeds=6), records).fixed == ("the tuned point",)


def test_the_smallest_gap_is_what_a_difference_would_have_needed() -> None:
    verdict = judge(asked([16, 32], seeds=8), planted_records(scores_of({16: 0.95, 32: 0.951}, n=8)))
    (pair,) = verdict.comparisons
    low, high = pair.interval
    assert low is not None
    assert high is not None
    assert verdict.smallest_detectable_gap == pytest.approx((high - low) / 2)


def needed(scores: Mapping[Scalar, Sequence[float]]) -> tuple[int | None, str]:
    """What the verdict on these scores needs."""
    n = len(next(iter(scores.values())))
    needs = judge(asked(list(scores), seeds=n), planted_records(scores, heats=0)).needs
    return needs.seeds, needs.why


def test_needs_name_the_seeds_or_say_why_not() -> None:
    noise = [0.004, -0.004, 0.003, -0.003, 0.005, -0.005, 0.002, -0.002]
    base = [0.9 + 0.001 * i for i in range(8)]

    def against(gap: float) -> tuple[int | None, str]:
        return needed({1: base, 2: [b - gap + e for b, e in zip(base, noise, strict=True)]})

    seeds, why = against(0.002)
    assert seeds is not None
    assert 8 < seeds < 100
    assert "80 % power" in why
    fewer, _ = against(0.0025)
    assert fewer is not None
    assert fewer < seeds
    assert against(0.05) == (None, "1 and 2 are already told apart")
    none, why = against(0.0)
    assert none is None
    assert "the same on average" in why
    none, why = against(0.0001)
    assert none is None
    assert "more than 1000 seeds" in why
    assert needed({1: base})[0] is None


def test_identical_levels_are_one_group_with_a_gap_of_zero() -> None:
    row = [0.9, 0.91, 0.92, 0.9, 0.93, 0.9, 0.94, 0.9]
    verdict = judge(asked([1, 2], seeds=8), planted_records({1: row, 2: row}))
    assert set(groups(verdict).values()) == {1}
    (pair,) = verdict.comparisons
    assert (pair.difference, pair.p, pair.p_adjusted, pair.interval) == (0.0, 1.0, 1.0, (0.0, 0.0))


def test_seconds_count_only_in_one_lane_on_one_hardware() -> None:
    scores: dict[Scalar, list[float]] = {16: [0.95] * 8, 32: [0.95] * 8}
    seconds: dict[Scalar, list[float]] = {16: [1 + i / 50 for i in range(8)], 32: [3 + i / 50 for i in range(8)]}
    records = planted_records(scores, seconds=seconds)
    alike = judge(asked([16, 32], seeds=8, target=0.9), records)
    (pair,) = alike.speed
    assert (pair.a, pair.b) == ("32", "16")
    assert pair.ratio > 2
    mixed = [replace(r, lane="crew") if r.stage is Stage.FINAL and r.level["batch_size"] == 16 else r for r in records]
    verdict = judge(asked([16, 32], seeds=8, target=0.9), mixed)
    assert verdict.speed == []
    for level in verdict.levels:
        assert level.cost_to_target is not None
        assert level.cost_to_target.seconds is None
        assert level.cost_to_target.steps is not None
    assert judge(asked([16, 32], seeds=8), records).levels[0].cost_to_target is None


@pytest.mark.parametrize("confidence", [0.0, 1.0, 95.0])
def test_a_confidence_outside_zero_to_one_is_refused(confidence: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        judge(asked([1], seeds=1), [], confidence=confidence)


def test_more_confidence_makes_wider_intervals() -> None:
    records = planted_records(scores_of({16: 0.90, 32: 0.91}, n=9))
    narrow, wide = (judge(asked([16, 32], seeds=9), records, confidence=c).comparisons[0].interval for c in (0.8, 0.98))
    assert narrow[0] is not None
    assert wide[0] is not None
    assert wide[0] < narrow[0]


statuses = st.sampled_from(Status)
score = st.floats(0, 1) | st.just(float("nan"))


@given(
    finals=st.lists(st.tuples(st.sampled_from([1, 2, 3]), st.integers(1, 9), statuses, score), max_size=40),
    looks=st.sampled_from([None, [6, 9]]),
    target=st.none() | st.floats(0, 1),
    mode=st.sampled_from(["max", "min"]),
)
@settings(max_examples=150, deadline=None)
def test_every_ledger_has_a_verdict(
    finals: list[tuple[int, int, Status, float]], looks: list[int] | None, target: float | None, mode: str
) -> None:
    records: list[TrialRecord] = [
        planted_record(level=level, stage=Stage.FINAL, seed=seed, number=i, score=score, status=status, epochs=2)
        for i, (level, seed, status, score) in enumerate(finals)
    ]
    verdict = judge(asked([1, 2, 3], seeds=9, looks=looks, target=target, mode=mode), records)
    assert sorted(level.label for level in verdict.levels) == ["1", "2", "3"]
    assert verdict.answer.endswith(".")
    assert verdict.answer.count(". ") == 0
    clean = [level for level in verdict.levels if level.n and not level.diverged]
    rest = [level for level in verdict.levels if level not in clean]
    assert verdict.levels == [*clean, *rest]
    for level in rest:
        assert all(level.rank_group > other.rank_group for other in clean)
        assert level.label not in {name for pair in verdict.comparisons for name in (pair.a, pair.b)}
    json.dumps(verdict.to_json(), allow_nan=False)


def test_a_split_that_all_finals_had_is_not_varied() -> None:
    records = [replace(record, data="a") for record in planted_records(scores_of({16: 0.9, 32: 0.95}, n=6))]
    question = asked([16, 32], seeds=6)
    same = judge(question, records)
    assert same.varied == ("init", "order")
    assert same.fixed == ("split", "the tuned point")
    last = next(record for record in records if record.stage is Stage.FINAL)
    others, unknown = ([*records, replace(last, id="f", data=data)] for data in ("b", None))
    assert judge(question, others).varied == judge(question, unknown).varied == ("init", "order", "split")
