"""Medians, ratios, and whether all did the same training."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from benchmarks.figures import Cost, Measurement, Spread, described, differences, ratios
from benchmarks.trial import Outcome

OUTCOME = Outcome(lr=1e-3, seed=0, steps=85, train_loss=0.5, val_loss=0.4)


def run(cpu: float, seconds: float) -> Measurement:
    return Measurement(
        start=Cost(cpu=10 * cpu, seconds=10 * seconds),
        trial=Cost(cpu=cpu, seconds=seconds),
        after=Cost(cpu=0.0, seconds=0.0),
        driver=cpu / 2,
        tenths=[],
        outcomes=[OUTCOME],
    )


def test_ratios_are_those_of_the_medians() -> None:
    dear, cheap = [run(6.0, 4.0), run(5.0, 3.0), run(90.0, 80.0)], [run(0.4, 0.2), run(0.5, 0.5), run(0.6, 0.8)]
    found = ratios({"stock_function": dear, "solo": cheap, "crew": cheap, "stock_trainer_2": []})
    assert found["solo_vs_stock_function"] == pytest.approx(12.0)
    assert found["solo_vs_stock_function_wall"] == pytest.approx(8.0)
    assert found["crew_vs_stock_trainer_2"] is None
    assert found["gang_vs_stock_trainer_1_wall"] is None


def test_a_spread_shows_the_least_and_the_greatest() -> None:
    assert Spread.of([3.0, 1.0, 2.0]).to_json() == {"median": 2.0, "min": 1.0, "max": 3.0, "rounds": [3.0, 1.0, 2.0]}
    parts = described([run(1.0, 2.0), run(3.0, 4.0)])
    assert parts["start"]["cpu_seconds"]["rounds"] == [10.0, 30.0]
    assert parts["per_trial"]["seconds"]["median"] == 3.0


@pytest.mark.parametrize(
    ("change", "ordered", "said"),
    [
        ({}, True, []),
        ({"val_loss": 0.4 * (1 + 1e-6)}, True, []),
        ({"steps": 80}, False, ["80 steps"]),
        ({"val_loss": 0.41}, True, ["val_loss 0.41"]),
        ({"val_loss": 0.41, "train_loss": 0.9}, False, []),
        ({"val_loss": 0.9}, False, ["val_loss 0.9"]),
        ({"train_loss": math.nan}, True, ["train_loss nan"]),
    ],
)
def test_other_training_is_found_out(change: dict[str, float], ordered: bool, said: list[str]) -> None:
    other = replace(OUTCOME, **change)  # type: ignore[arg-type]
    found = differences("solo", ordered=ordered, said=[OUTCOME, other], reference=[OUTCOME, OUTCOME])
    assert len(found) == len(said)
    assert all(words in sentence for words, sentence in zip(said, found, strict=True))
