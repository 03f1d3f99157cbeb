"""A second goal: what is searched for, and which point goes to the finals."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from analysis.judge import judge
from analysis.ledger import read_question
from analysis.records import Cost, Stage, Status, TrialRecord
from sweeps import ASHA, CMAES, GP, TPE, Also, Grid, QuestionError, Random, Resources, Search, Sobol, Sweep
from sweeps.engine import question
from sweeps.engine.also import best
from sweeps.engine.job import Job
from sweeps.engine.machine import Machine
from tests.sweeps.played import bowl, heats, height, play, record
from tests.sweeps.small import small
from tests.sweeps.test_engine import run as trained
from trainables import SGD, Maximise, Minimise


def run(number: int, accuracy: float, seconds: float | None, loss: float = 1.0) -> TrialRecord:
    return TrialRecord(
        id=f"r{number}",
        sweep="s",
        task="t",
        stage=Stage.HEAT,
        level={},
        point={"lr": float(number)},
        seed=0,
        status=Status.COMPLETED,
        metrics={"val/accuracy": accuracy, "val/loss": loss},
        cost=Cost(seconds=seconds),
        number=number,
    )


RUNS = [run(0, 0.90, 1.0), run(1, 0.970, 4.0), run(2, 0.975, 9.0), run(3, 0.972, 5.0), run(4, 0.975, 9.5)]


@pytest.mark.parametrize(
    ("also", "wanted"),
    [
        (None, 2),
        (Also(goal=Minimise("seconds")), 2),
        (Also(goal=Maximise("seconds")), 4),
        (Also(goal=Minimise("seconds"), within=0.003), 3),
        (Also(goal=Minimise("seconds"), within=0.005), 1),
        (Also(goal=Minimise("seconds"), within=1.0), 0),
        (Also(goal=Minimise("gpu_seconds"), within=1.0), 2),
    ],
)
def test_the_cheapest_of_those_close_to_the_best_is_chosen(also: Also | None, wanted: int) -> None:
    for order in (RUNS, RUNS[::-1]):
        chosen = best(order, Maximise("accuracy"), also)
        assert chosen is not None
        assert chosen.number == wanted


def test_a_goal_to_be_lowered_is_close_from_above() -> None:
    runs = [run(0, 0.5, 9.0, loss=0.10), run(1, 0.5, 2.0, loss=0.12), run(2, 0.5, 1.0, loss=0.20)]
    chosen = best(runs, Minimise("loss"), Also(goal=Minimise("seconds"), within=0.03))
    assert chosen is runs[1]


def test_what_has_no_value_is_not_chosen() -> None:
    lost = [run(0, math.nan, 1.0), replace(run(1, 0.9, 1.0), metrics={})]
    assert best(lost, Maximise("accuracy"), None) is None
    unknown = [run(2, 0.9, None), run(3, 0.9, 3.0)]
    chosen = best(unknown, Maximise("accuracy"), Also(goal=Minimise("seconds")))
    assert chosen is unknown[1]
    assert best(unknown[:1], Maximise("accuracy"), Also(goal=Minimise("seconds"))) is unknown[0]


def priced(job: Job) -> TrialRecord:
    """Heights whose price rises with the learning rate."""
    rate = job.point["optimizer.lr"]
    assert isinstance(rate, float)
    return record(job, [height(job.point)], seconds=10 * rate)


def traded(**changes: Any) -> Sweep:
    return bowl(also=Also(goal=Minimise("seconds"), within=0.05), **changes)


SEARCHES: list[Search] = [
    TPE(trials=12, startup=5),
    GP(trials=12, startup=5),
    Random(trials=12),
    Sobol(trials=12),
    Grid(points=3),
]


@pytest.mark.parametrize("search", SEARCHES, ids=lambda search: type(search).__name__)
def test_a_search_with_two_goals_runs_whole_and_goes_on_and_its_finals_are_the_cheap_good_one_s(search: Search) -> None:
    sweep = traded(search=search)
    sweep.check()
    records = play(sweep, priced, known=play(sweep, priced, most=7), at_once=2)
    own = heats(records)
    assert len({one.id for one in own}) == len(own) == sweep.trials
    final = records[-1].point
    top = max(height(one.point) for one in own)
    close = [one for one in own if height(one.point) >= top - 0.05]
    cheapest = min(close, key=lambda one: (one.cost.seconds or 0.0, -height(one.point)))
    assert final == cheapest.point


def covered(records: list[TrialRecord]) -> float:
    """The area that the heats cover: height above 0, at 1 - log10 of the price over four decades."""
    points = sorted(
        ((4 - math.log10((one.cost.seconds or 1.0) * 100 + 1e-9)) / 4, max(0.0, height(one.point)))
        for one in heats(records)
    )
    area, reached = 0.0, 0.0
    for cheap, high in reversed(points):
        if high > reached:
            area, reached = area + max(0.0, cheap) * (high - reached), high
    return area


@pytest.mark.parametrize("search", [TPE(trials=30), GP(trials=14)], ids=["TPE", "GP"])
def test_the_front_of_a_search_with_two_goals_covers_more_than_random_draws(search: Search) -> None:
    random = Random(trials=search.trials)
    pairs = [[covered(play(traded(search=each, seed=seed), priced)) for each in (search, random)] for seed in range(5)]
    assert sum(own > drawn for own, drawn in pairs) >= 4


def test_a_heat_that_is_stopped_or_diverges_does_not_count_as_cheap() -> None:
    """It took few seconds because it was cut."""

    def outcome(job: Job) -> TrialRecord:
        whole = priced(job)
        if job.stage is Stage.FINAL or job.number % 3:
            return whole
        return replace(whole, status=Status.STOPPED, cost=Cost(seconds=1e-6))

    records = play(traded(search=TPE(trials=12), early_stop=ASHA(grace=1)), outcome)
    assert len(heats(records)) == 12
    final = next(one for one in heats(records) if one.point == records[-1].point)
    assert final.status is Status.COMPLETED


def test_a_real_sweep_with_two_goals_says_what_it_gave_up_for_what(tmp_path: Path) -> None:
    sweep = small(also=Also(goal=Minimise("loss"), within=0.1), search=Random(trials=6), early_stop=None, seeds=6)
    records = trained(sweep, tmp_path)
    stored = question.described(sweep, Machine.here(None))
    question.store(tmp_path, stored)
    assert stored["also"] == {"metric": "loss", "mode": "min", "within": 0.1}
    verdict = judge(read_question(tmp_path), records)
    for level in sweep.levels():
        (chosen,) = [point for point in verdict.front if point.level == level and point.chosen]
        own = [one for one in heats(records) if dict(one.level) == level]
        top = max(one.metrics["val/accuracy"] for one in own)
        assert chosen.second == min(one.metrics["val/loss"] for one in own if one.metrics["val/accuracy"] >= top - 0.1)
    assert "its point " in verdict.answer


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"also": Also(goal=Minimise("time"))}, "also names 'time', which is no metric of the task (accuracy, loss) and no cost"),
        ({"also": Also(goal=Minimise("accuracy"))}, "also names 'accuracy', which is the task's goal already"),
        ({"also": Also(goal=Minimise("loss"), within=-1.0)}, "also.within -1 must be a finite number from 0, in the unit of"),
        ({"also": Also(goal=Minimise("peak_bytes")), "resources": Resources(gpus=0)}, "nothing is known of with resources.gpus 0"),
        ({"also": Also(goal=Minimise("loss")), "search": CMAES()}, "CMAES follows one goal"),
        (
            {"also": Also(goal=Minimise("loss")), "search": None, "recipe": replace(small().recipe, optimizer=SGD(lr=0.1))},
            "also is set but nothing is searched",
        ),
    ],
)  # fmt: skip
def test_a_second_goal_that_makes_no_sense_is_said(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(QuestionError) as caught:
        bowl(**changes).check()
    assert said in str(caught.value)
