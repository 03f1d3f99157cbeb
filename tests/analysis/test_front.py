"""The front of two goals, and the clause about it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from analysis.front import FrontPoint, front, trade
from analysis.judge import judge
from analysis.ledger import Goal, Question
from analysis.records import Cost, Stage, Status, TrialRecord

GOAL = Goal(metric="accuracy", mode="max")


def question(also: str | None = "seconds", mode: str = "min") -> Question:
    raw = {"also": {"metric": also, "mode": mode, "within": 0.01} if also else None, "levels": [{"b": 1}, {"b": 2}]}
    return Question(sweep="s", task="t", goal=GOAL, factors={"b": [1, 2]}, seeds=8, varied=("init",), raw=raw)


def heat(number: int, accuracy: float, seconds: float | None, level: int = 1, stage: Stage = Stage.HEAT) -> TrialRecord:
    return TrialRecord(
        id=f"{stage}{level}{number}{accuracy}",
        sweep="s",
        task="t",
        stage=stage,
        level={"b": level},
        point={"b": level, "lr": float(number)},
        seed=number if stage is Stage.FINAL else 0,
        status=Status.COMPLETED,
        metrics={"val/accuracy": accuracy, "test/accuracy": accuracy, "val/loss": 1 - accuracy},
        cost=Cost(seconds=seconds),
        number=number,
    )


HEATS = [
    heat(0, 0.90, 1.0),
    heat(1, 0.97, 4.0),
    heat(2, 0.98, 9.0),
    heat(3, 0.95, 5.0),  # beaten by 1 in both
    heat(4, 0.98, 9.0),  # the same as 2
    heat(5, 0.99, None),
    replace(heat(6, 0.90, 0.1), status=Status.STOPPED),
    heat(0, 0.5, 2.0, level=2),
]


def test_the_front_holds_what_is_best_in_one_for_what_it_is_in_the_other() -> None:
    points = front(question(), HEATS)
    assert [(point.level["b"], point.value, point.second) for point in points] == [
        (1, 0.98, 9.0),
        (1, 0.97, 4.0),
        (1, 0.90, 1.0),
        (2, 0.5, 2.0),
    ]
    assert [point.value for point in front(question(mode="max"), HEATS[:4])] == [0.98]
    assert [point.value for point in front(question("loss"), HEATS[:4])] == [0.98]


def test_there_is_none_without_a_second_goal() -> None:
    assert front(question(None), HEATS) == []
    assert judge(question(None), HEATS).also is None


@pytest.mark.parametrize(
    ("chosen", "said"),
    [
        (
            1,
            "its point was chosen for its seconds: 97.0 % validation accuracy at 4.0 s, where the best heat has 98.0 % at 9.0 s",
        ),
        (2, "its point has the best validation accuracy of its heats, at 9.0 s"),
    ],
)
def test_the_answer_says_what_was_given_up_for_what(chosen: int, said: str) -> None:
    at = HEATS[chosen].point
    finals = [replace(heat(seed, 0.96 + 0.001 * seed, 4.0, stage=Stage.FINAL), point=at) for seed in range(8)]
    verdict = judge(question(), [*HEATS, *finals])
    assert said in verdict.answer
    assert [point["chosen"] for point in verdict.to_json()["front"]] == [n == chosen for n in (2, 1, 0)] + [False]


def test_costs_are_written_with_their_units() -> None:
    points = [FrontPoint(level={}, point={}, value=0.9, second=2.5e9, chosen=True)]
    (said,) = trade(GOAL, Goal(metric="peak_bytes", mode="min"), points)
    assert said.endswith("at 2.5 GB")
    (said,) = trade(GOAL, Goal(metric="loss", mode="min"), [replace(points[0], second=0.25)])
    assert said.endswith("at 0.2500")
    assert trade(GOAL, Goal(metric="gpu_seconds", mode="min"), []) == [
        "no heat that ran to its end has a value for GPU seconds, so that goal chose nothing"
    ]
    assert trade(GOAL, GOAL, [replace(points[0], chosen=False)]) == []
