"""Points at the ends of what was searched, from the question as it is stored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from analysis.edges import Edge, edges, read_range
from analysis.judge import judge
from analysis.ledger import Question
from analysis.records import Scalar, Stage, TrialRecord
from tests.analysis.asked import asked
from tests.planted import planted_record

LR = "log_uniform(0.001, 1)"


def question(space: Mapping[str, str] | None = None, **more: Any) -> Question:
    return replace(asked([8, 32], seeds=2), raw={"space": space or {"optimizer.lr": LR}, **more})


def records(tuned: Mapping[int, Mapping[str, Scalar]]) -> list[TrialRecord]:
    """A heat and two finals at each level's point."""
    found = []
    for level, point in tuned.items():
        for seed in range(3):
            stage = Stage.FINAL if seed else Stage.HEAT
            record = planted_record(level=level, stage=stage, seed=seed, number=len(found), score=0.9)
            found.append(replace(record, point={"batch_size": level, **point}))
    return found


def found(asked_for: Question, tuned: Mapping[int, Mapping[str, Scalar]]) -> list[Edge]:
    known = records(tuned)
    return edges(asked_for, judge(asked_for, known).levels, known)


def test_the_end_the_range_and_the_levels_are_found() -> None:
    (upper,) = found(question(), {8: {"optimizer.lr": 0.999}, 32: {"optimizer.lr": 0.1}})
    assert (upper.path, upper.end, upper.range.text, upper.levels) == ("optimizer.lr", "upper", LR, ["8"])
    (lower,) = found(question(), {8: {"optimizer.lr": 0.00101}, 32: {"optimizer.lr": 0.001}})
    assert (lower.end, sorted(lower.levels)) == ("lower", ["32", "8"])
    assert found(question(), {8: {"optimizer.lr": 0.5}, 32: {"optimizer.lr": 0.01}}) == []


@pytest.mark.parametrize(
    ("text", "value", "end"),
    [
        ("uniform(0, 0.5)", 0.0, None),  # below 0 there is nothing
        ("uniform(0, 0.5)", 0.495, "upper"),
        ("uniform(-1, 1)", -0.99, "lower"),
        ("int_range(4, 64)", 64, "upper"),
        ("int_range(4, 64)", 63, None),
        ("int_range(1, 3)", 1, "lower"),
        ("int_range(16, 256, log=True)", 16, "lower"),
        ("int_range(16, 256, log=True)", 250, "upper"),
        ("log_uniform(1e-05, 0.01)", 1.05e-5, "lower"),
        ("log_uniform(0.01, 1)", 0.93, "upper"),
        ("log_uniform(0.01, 1)", 0.8, None),
    ],
)
def test_how_near_an_end_is(text: str, value: float, end: str | None) -> None:
    known = read_range(text)
    assert known is not None
    assert known.end(value) == end
    assert known.holds(value)


@pytest.mark.parametrize("text", ["choice(0.0, 0.9)", "each(1, 2)", "none", "", None, "uniform(a, b)"])
def test_what_is_no_range_is_left_out(text: str | None) -> None:
    assert read_range(text) is None


def test_a_path_with_another_range_elsewhere_is_left_out_or_read_by_level() -> None:
    tuned: dict[int, dict[str, Scalar]] = {8: {"optimizer.lr": 0.0299}, 32: {"optimizer.lr": 0.5}}
    # The last option's range alone is stored, and 0.0299 lies within it: but 0.0001 does not.
    stray = replace(records(tuned)[0], id="stray", point={"batch_size": 8, "optimizer.lr": 0.0001})
    asked_for = question({"optimizer.lr": "log_uniform(0.01, 1)"})
    known = [*records(tuned), stray]
    assert edges(asked_for, judge(asked_for, known).levels, known) == []
    spaces = [{"optimizer.lr": "log_uniform(0.0001, 0.03)"}, {"optimizer.lr": "log_uniform(0.01, 1)"}]
    by_level = replace(asked_for, raw={**asked_for.raw, "spaces": spaces})
    (edge,) = edges(by_level, judge(by_level, known).levels, known)
    assert (edge.end, edge.range.text, edge.levels) == ("upper", "log_uniform(0.0001, 0.03)", ["8"])


def test_a_question_that_says_nothing_and_a_level_without_a_final_are_no_trouble() -> None:
    for raw in ({}, {"space": None}, {"space": {"optimizer.lr": 3}}, {"spaces": [{}], "space": {}}):
        asked_for = replace(asked([8, 32], seeds=2), raw=raw)
        assert found(asked_for, {8: {"optimizer.lr": 1.0}}) == []
