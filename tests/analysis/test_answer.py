"""The answer: one sentence that claims no more than the verdict does."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.judge import judge
from analysis.records import Scalar, Stage, Status
from analysis.verdict import Verdict
from tests.analysis.asked import asked
from tests.planted import planted_record, planted_records


def verdict_on(
    means: Mapping[Scalar, float],
    *,
    n: int = 8,
    seeds: int | None = None,
    mode: str = "max",
    seconds: Mapping[Scalar, float] | None = None,
    diverged: Sequence[tuple[Scalar, int]] = (),
    failed: Sequence[tuple[Scalar, int]] = (),
) -> Verdict:
    """The verdict on levels with these means and noise of 0.4 points; seconds vary by a tenth."""
    generator = np.random.default_rng(1)
    scores = {level: [float(mean + e) for e in generator.normal(0, 0.004, n)] for level, mean in means.items()}
    times: dict[Scalar, list[float]] = {
        level: [float(centre * math.exp(e)) for e in generator.normal(0, 0.1, n)]
        for level, centre in (seconds or {}).items()
    }
    records = planted_records(scores, heats=0, seconds=times or None, diverged=diverged, failed=failed)
    target = 0.9 if seconds else None
    return judge(asked(list(means), seeds=seeds or n, mode=mode, target=target), records)


def test_one_level_told_from_all_others_is_best() -> None:
    answer = verdict_on({16: 0.93, 32: 0.97, 64: 0.90}).answer
    assert re.fullmatch(
        r"Batch size 32 is best: 9\d\.\d % test accuracy \[9\d\.\d, 9\d\.\d\]; "
        r"16 is worse by \d\.\d points \[\d\.\d, \d\.\d\] and 64 by \d\.\d points \[\d\.\d, \d\.\d\]\.",
        answer,
    )


def test_a_best_group_leads_and_the_rest_is_worse() -> None:
    verdict = verdict_on({16: 0.9702, 32: 0.97, 64: 0.9701, 512: 0.94}, seconds={16: 4.0, 32: 1.0, 64: 2.5, 512: 8.0})
    leader, *others = (level.label for level in verdict.levels[:3])
    assert re.fullmatch(
        rf"Batch size {leader} leads: 9\d\.\d % test accuracy \[.*\]; "
        rf"{others[0]} and {others[1]} are not distinguishable from it \(p ≥ 0\.\d\d\); "
        r"512 is worse by \d\.\d points \[\d\.\d, \d\.\d\]; "
        r"of the best group 32 reaches 90 % soonest, in 0\.\d\d s, 2\.\dx sooner than 64 \[\d\.\d, \d\.\d\]\.",
        verdict.answer,
    )


def test_nobody_is_best_when_nobody_can_be_told_apart() -> None:
    answer = verdict_on({16: 0.9701, 32: 0.97, 64: 0.9702}, seconds={16: 1.0, 32: 1.0, 64: 1.0}).answer
    assert answer.startswith("No batch size is distinguishably best: ")
    assert re.search(r"\(p ≥ 0\.\d\d against every other\)", answer)
    assert re.search(r"with 8 seeds a gap of about 0\.\d points would have shown", answer)
    assert answer.endswith("; of the best group none reaches 90 % distinguishably sooner than another.")


def test_of_two_there_is_one_p() -> None:
    assert re.search(r"\(p = 0\.\d\d against 32\)", verdict_on({16: 0.97, 32: 0.97}).answer)


def test_many_worse_levels_are_summed_up() -> None:
    levels: dict[Scalar, float] = {2**i: 0.97 - 0.015 * i for i in range(4, 12)}
    answer = verdict_on(levels).answer
    assert re.search(r"all 7 others are worse, 32 by \d\.\d points \[.*\] to 2048 by \d+\.\d points \[.*\]\.", answer)


def test_too_few_seeds() -> None:
    assert re.fullmatch(
        r"Too few seeds to tell: batch size 32 does best so far with 9\d\.\d % test accuracy, but 3 shared seeds cannot "
        r"tell any two apart, which takes at least 6\.",
        verdict_on({16: 0.9, 32: 0.97}, n=3).answer,
    )


def test_diverged_levels_are_named_with_their_count() -> None:
    answer = verdict_on({16: 0.9, 32: 0.95, 64: 0.99}, diverged=[(64, 1), (64, 4)]).answer
    assert "Batch size 32 is best" in answer
    assert answer.endswith("; 64 diverged in 2 of 8 finals.")
    two = verdict_on({16: 0.9, 32: 0.95, 64: 0.99, 128: 0.99}, diverged=[(64, 1), (64, 4), (128, 2)]).answer
    assert two.endswith("; 128 diverged in 1 of 8 finals and 64 in 2 of 8.")
    many = verdict_on(dict.fromkeys(range(5), 0.9), diverged=[(i, 1) for i in range(1, 5)]).answer
    assert "4 others diverged, " in many
    every = verdict_on({16: 0.9, 32: 0.95}, diverged=[(16, 1), (32, 2)]).answer
    assert every.startswith("No batch size came through its finals: ")


def test_lost_finals_are_no_score() -> None:
    failed: list[tuple[Scalar, int]] = [(level, seed) for level in (16, 32) for seed in range(1, 9)]
    assert verdict_on({16: 0.9, 32: 0.95}, failed=failed).answer == (
        "No final has finished: 16 failed, ran out of memory or were cut short."
    )
    one = verdict_on({16: 0.9, 32: 0.95}, failed=failed[:8]).answer
    assert one.startswith("Batch size 32 is the only one whose finals can be judged: ")
    assert one.endswith("16 has no finished final (8 lost).")


def without_finals(
    how: Sequence[tuple[int, Status, str | None]], *, over: bool = True, more: Sequence[Status] = ()
) -> str:
    """The answer where so many heats have ended so, for such a reason, and no final has followed."""
    ended = [(status, reason) for count, status, reason in how for _ in range(count)]
    heats = [
        planted_record(level=16, stage=Stage.HEAT, seed=0, number=number, score=0.5, status=status, reason=reason)
        for number, (status, reason) in enumerate([*ended, *((status, None) for status in more)])
    ]
    question = asked([16, 32], seeds=8)
    return judge(replace(question, raw={"cut_short": False} if over else {}), heats).answer


def test_where_every_heat_was_lost_that_is_the_answer() -> None:
    bug, other = "RuntimeError: my bug (mine.py:31) (in 2 attempts)", "ValueError: another"
    failed, full, diverged = Status.FAILED, Status.OUT_OF_MEMORY, Status.DIVERGED
    assert without_finals([(8, failed, bug)]) == f"No answer: all 8 heats failed; the reason: {bug}."
    assert without_finals([(1, failed, bug)]) == f"No answer: the only heat failed; the reason: {bug}."
    assert (
        without_finals([(3, failed, other), (5, failed, bug)]) == f"No answer: all 8 heats failed; most often: {bug}."
    )
    assert without_finals([(1, full, "full by 1."), (1, full, "full by 2")]) == (
        "No answer: both heats ran out of memory; among the reasons: full by 1."
    )
    assert without_finals([(2, full, "full"), (4, failed, bug), (2, diverged, "train/loss is nan at epoch 1")]) == (
        f"No answer: of 8 heats 4 failed, 2 ran out of memory and 2 diverged; most often: {bug}."
    )
    assert without_finals([(4, diverged, "train/loss is nan at epoch 1")]) == "No answer: all 4 heats diverged."
    long = without_finals([(2, failed, f"ValueError: {'so many words ' * 20}")])
    assert long.endswith((" so ….", " many ….", " words …."))
    assert len(long) < 260


def test_yet_is_said_only_while_something_may_still_come() -> None:
    lost = [(7, Status.FAILED, "RuntimeError: my bug")]
    assert without_finals(lost, over=False) == "No final has finished yet."
    assert without_finals(lost, over=False, more=[Status.RUNNING]) == "No final has finished yet."
    assert without_finals(lost, more=[Status.COMPLETED]) == "No final has finished."
    assert without_finals([]) == "No final has finished."


def test_less_is_better_says_by_how_much_more_the_others_lose() -> None:
    answer = verdict_on({16: 0.90, 32: 0.95}, mode="min").answer
    assert re.search(r"Batch size 16 is best: .*; 32 is worse by [4-6]\.\d points \[[3-5]\.\d, [4-6]\.\d\]", answer)


def test_a_loss_is_written_by_its_digits() -> None:
    records = planted_records({8: [0.9] * 8}, heats=0)
    spread = [replace(r, level={}, metrics={"test/loss": 0.5 + 0.01 * i}) for i, r in enumerate(records)]
    answer = judge(asked({}, seeds=8, metric="loss", mode="min"), spread).answer
    assert re.fullmatch(r"planted: 0\.535 test loss \[0\.5\d\d, 0\.5\d\d\] over 8 seeds\.", answer)


def test_levels_of_two_factors_stand_in_brackets() -> None:
    records = [
        replace(
            planted_record(
                level=b, stage=Stage.FINAL, seed=s, number=s, score=0.9 + 0.03 * (b == 32) + s / 1000 + b * s % 7 / 5000
            ),
            level={"batch_size": b, "nesterov": v},
        )
        for b in (16, 32)
        for v in (True, False)
        for s in range(1, 9)
    ]
    answer = judge(asked({"batch_size": (16, 32), "nesterov": (True, False)}, seeds=8), records).answer
    assert answer.startswith("Batch size 32, nesterov True leads: ")
    assert "(32, nesterov=False) is not distinguishable from it" in answer


def test_soonest_is_said_only_among_those_that_always_arrive() -> None:
    scores: dict[Scalar, list[float]] = {
        16: [0.95, 0.94] * 4,
        32: [0.94, 0.95] * 4,
        64: [0.95, 0.94] * 3 + [0.95, 0.89],
    }
    seconds: dict[Scalar, list[float]] = {
        level: [c + i / 99 for i in range(8)] for level, c in ((16, 1.0), (32, 3.0), (64, 0.5))
    }
    answer = judge(asked([16, 32, 64], seeds=8, target=0.9), planted_records(scores, heats=0, seconds=seconds)).answer
    assert "of those in the best group that reach 90 % with every seed 16 does so soonest" in answer


@given(
    seed=st.integers(0, 10_000),
    means=st.lists(st.sampled_from([0.9, 0.905, 0.91, 0.95]), min_size=2, max_size=7),
    n=st.integers(1, 9),
    gone=st.lists(st.tuples(st.integers(0, 6), st.integers(1, 9)), max_size=3),
)
@settings(max_examples=150, deadline=None)
def test_the_answer_never_claims_more_than_the_verdict(
    seed: int, means: list[float], n: int, gone: list[tuple[int, int]]
) -> None:
    generator = np.random.default_rng(seed)
    scores: dict[Scalar, list[float]] = {
        i: [float(m + e) for e in generator.normal(0, 0.005, n)] for i, m in enumerate(means)
    }
    seconds: dict[Scalar, list[float]] = {i: [float(x) for x in generator.uniform(1, 3, n)] for i in scores}
    records = planted_records(scores, heats=0, seconds=seconds, diverged=gone)
    verdict = judge(asked(list(scores), seeds=n, target=0.88), records)
    answer = verdict.answer
    clean = [level for level in verdict.levels if level.n and not level.diverged]
    apart = {(pair.a, pair.b): pair.p_adjusted <= 0.05 for pair in verdict.comparisons}
    if "is best" in answer:
        assert len(clean) > 1
        assert all(apart[clean[0].label, other.label] for other in clean[1:])
    if "worse" in answer:
        assert any(apart.values())
    if " soonest" in answer:
        quickest = re.search(r"(\d+) reaches 88 % soonest", answer)
        assert quickest is not None
        group = {level.label for level in clean if level.rank_group == 1}
        mine = [pair for pair in verdict.speed if quickest[1] in (pair.a, pair.b) and {pair.a, pair.b} <= group]
        assert mine
        assert all(pair.b == quickest[1] and pair.p_adjusted <= 0.05 for pair in mine)
    for level in verdict.levels:
        if level.diverged:
            assert "diverged" in answer
    assert len(answer.split()) <= 75
    assert "None" not in answer
    assert "nan" not in answer


@pytest.mark.parametrize("n", [8, 12])
def test_the_answer_is_short_with_many_levels(n: int) -> None:
    levels: dict[Scalar, float] = {i: 0.95 - 0.002 * i for i in range(20)}
    assert len(verdict_on(levels, n=n, seconds=dict.fromkeys(levels, 2.0)).answer.split()) <= 60
