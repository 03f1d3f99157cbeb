"""Points at the ends of their ranges are told of, others are not."""

from __future__ import annotations

import pytest

from analysis.records import Stage, Status, TrialRecord
from sweeps import Random, Sweep, choice, each, int_range, log_uniform, uniform
from sweeps.engine.edges import edges
from tests.sweeps.small import small
from trainables import SGD, Cosine, Recipe
from trainables.describe import Scalar
from trainables.models import MLP


def sweep() -> Sweep:
    recipe = Recipe(
        model=MLP(widths=(int_range(4, 64),)),
        batch_size=each(8, 32),
        optimizer=SGD(lr=log_uniform(1e-3, 1.0), momentum=choice(0.0, 0.9)),
        schedule=Cosine(warmup=uniform(0.0, 0.5)),
        epochs=9,
    )
    return small(recipe=recipe, search=Random(trials=5))


def heat(
    size: int, lr: float, width: int = 30, warmup: float = 0.2, value: float = 0.5, status: Status = Status.COMPLETED
) -> TrialRecord:
    level: dict[str, Scalar] = {"batch_size": size}
    point = level | {
        "model.widths.0": width,
        "optimizer.lr": lr,
        "optimizer.momentum": 0.0,
        "schedule.warmup": warmup,
    }
    return TrialRecord(
        id=f"{size}-{lr}-{value}",
        sweep="small",
        task="clusters",
        stage=Stage.HEAT,
        level=level,
        point=point,
        seed=0,
        status=status,
        metrics={"val/accuracy": value},
    )


def test_the_end_the_hole_and_the_levels_are_named() -> None:
    (said,) = edges(sweep(), [heat(8, 0.999), heat(32, 0.1)])
    assert said == (
        "optimizer.lr is tuned to the upper end of log_uniform(0.001, 1) at 1 of 2 levels (8): "
        "a wider range may hold a better point."
    )
    (both,) = edges(sweep(), [heat(8, 0.00101), heat(32, 0.001)])
    assert "lower end of log_uniform(0.001, 1) at 2 of 2 levels (8, 32)" in both
    assert ["model.widths.0" in said for said in edges(sweep(), [heat(8, 0.1, width=64)])] == [True]


@pytest.mark.parametrize(
    "record",
    [
        heat(8, 0.85),
        heat(8, 0.1, width=63),
        heat(8, 0.1, warmup=0.0),
    ],
    ids=["near, but not at the end", "the last but one", "nothing lies below 0"],
)
def test_a_point_inside_is_not_told_of(record: TrialRecord) -> None:
    assert edges(sweep(), [record]) == []


def test_the_tuned_point_alone_counts() -> None:
    records = [heat(8, 1.0, value=0.4), heat(8, 0.1, value=0.6), heat(8, 1.0, value=0.9, status=Status.STOPPED)]
    assert edges(sweep(), records) == []
    assert edges(sweep(), []) == []
