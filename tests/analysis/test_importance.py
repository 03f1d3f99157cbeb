"""Which searched settings mattered: planted heats, of which the test knows what decides."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from analysis.importance import MOST, Importances, importances
from analysis.ledger import Goal, Question
from analysis.records import Scalar, Stage, Status, TrialRecord

LR = "optimizer.lr"
Truth = Callable[[Mapping[str, Any], np.random.Generator], float]


def question(mode: str = "max") -> Question:
    raw = {"space": {LR: "log_uniform(1e-05, 0.03)"}}
    goal = Goal(metric="accuracy", mode=mode)
    return Question(sweep="s", task="t", goal=goal, factors={"b": [1, 2]}, seeds=8, varied=("init",), raw=raw)


def heat(number: int, score: float, point: Mapping[str, Scalar], *, level: int = 1, epochs: int = 3) -> TrialRecord:
    """A heat that climbs to its score at epoch 3; one of fewer epochs has come as far as they do."""
    history = [{"epoch": e, "val/accuracy": score - 0.1 * (3 - e)} for e in range(1, epochs + 1)]
    return TrialRecord(
        id=f"h{number}",
        sweep="s",
        task="t",
        stage=Stage.HEAT,
        level={"b": level},
        point={"b": level, **point},
        seed=0,
        status=Status.COMPLETED if epochs == 3 else Status.STOPPED,
        history=history,
        epochs=epochs,
    )


def peaked(point: Mapping[str, Any], generator: np.random.Generator) -> float:
    """Best at a learning rate of 1e-3, steep above; nothing else counts."""
    x = math.log10(point[LR]) + 3
    return 0.95 - 0.05 * x * x * (1 if x < 0 else 3) + float(0.02 * generator.normal())


def noise(_: Mapping[str, Any], generator: np.random.Generator) -> float:
    """Nothing counts; in steps of a hundredth, so that there are ties."""
    return round(0.9 + float(0.02 * generator.normal()), 2)


def drawn(seed: int, number: int, others: int, truth: Truth = peaked, levels: int = 1) -> list[TrialRecord]:
    """Heats at random points: a learning rate and some more settings."""
    generator = np.random.default_rng(seed)
    found = []
    for place in range(number):
        point = {LR: float(10 ** generator.uniform(-4.5, -1.5))}
        point |= {f"z{i}": float(generator.uniform()) for i in range(others)}
        level = 1 + place % levels
        # What levels score apart does not matter: each has a search of its own.
        found.append(heat(place, truth(point, generator) - 0.3 * level, point, level=level))
    return found


def shares(found: Importances | None) -> dict[str, float]:
    assert found is not None
    return {one.path: one.share for one in found.settings}


def test_the_setting_that_decides_is_found_and_the_others_are_not() -> None:
    found = importances(question(), drawn(0, 48, 3, levels=2))
    assert found is not None
    first, *others = found.settings
    assert first.path == LR
    assert first.share > 0.5
    assert first.interval[0] is not None
    assert first.interval[0] > 0.2
    assert [one.shown for one in found.settings] == [True, False, False, False]
    assert all(abs(one.share) < 0.2 for one in others)
    assert (found.heats, found.epoch, found.p) == (48, 3, 0.001)
    assert 0.6 < found.explained < 1


@pytest.mark.parametrize(("number", "others"), [(12, 1), (16, 4), (24, 2)])
def test_what_does_nothing_is_shown_to_matter_no_more_often_than_alpha(number: int, others: int) -> None:
    """100 sweeps each beside a setting that decides, and where nothing does; 5 % of 100 has a standard error of 2.2 points."""
    beside = wholly = 0
    for seed in range(100):
        found = importances(question(), drawn(seed, number, others), seed=seed)
        nothing = importances(question(), drawn(seed, number, others, noise), seed=seed)
        assert found is not None
        assert nothing is not None
        beside += any(one.shown for one in found.settings if one.path != LR)
        wholly += any(one.shown for one in nothing.settings)
    assert beside <= 9
    assert wholly <= 9


def test_what_decides_is_shown_in_most_sweeps_of_32_heats() -> None:
    shown = 0
    for seed in range(40):
        found = importances(question(), drawn(seed, 32, 2), seed=seed)
        assert found is not None
        shown += next(one.shown for one in found.settings if one.path == LR)
    assert shown >= 36


def test_settings_that_act_together_both_count() -> None:
    def crossed(point: Mapping[str, Any], generator: np.random.Generator) -> float:
        return 0.1 * (point["z0"] - 0.5) * (point["z1"] - 0.5) + float(0.002 * generator.normal())

    found = importances(question(), drawn(1, 60, 2, crossed))
    assert found is not None
    assert {one.path for one in found.settings if one.shown} == {"z0", "z1"}


def test_an_option_and_a_setting_that_only_some_have_count() -> None:
    generator = np.random.default_rng(3)
    heats = []
    for place in range(48):
        kind = ("SGD", "AdamW", "RMSprop")[place % 3]
        point: dict[str, Scalar] = {"optimizer": kind, "z": float(generator.uniform())}
        score = {"SGD": 0.8, "AdamW": 0.9, "RMSprop": 0.85}[kind] + float(0.005 * generator.normal())
        if kind == "SGD":
            point["optimizer.momentum"] = momentum = float(generator.uniform())
            score += 0.04 * momentum
        heats.append(heat(place, score, point))
    found = importances(question(), heats)
    assert next(iter(shares(found))) == "optimizer"
    assert found is not None
    assert [one.path for one in found.settings if one.shown] == ["optimizer", "optimizer.momentum"]


def test_all_are_compared_at_the_last_epoch_that_every_heat_reached() -> None:
    heats = drawn(0, 24, 1)
    stopped = [heat(i, 0.5, h.point, epochs=2) if i == 5 else h for i, h in enumerate(heats)]
    found = importances(question(), stopped)
    assert found is not None
    assert (found.epoch, found.heats) == (2, 24)
    silent = replace(heats[0], history=[])
    assert importances(question(), [silent, *heats[1:]]) is None


def test_a_diverged_heat_is_the_last_and_lost_or_unfinished_ones_do_not_count() -> None:
    def cliff(_: Mapping[str, Any], generator: np.random.Generator) -> float:
        return 0.9 + float(0.01 * generator.normal())

    heats = drawn(2, 40, 1, cliff)
    torn = [
        replace(h, status=Status.DIVERGED, history=h.history[:1]) if h.point[LR] > 3e-3 else h  # type: ignore[operator]
        for h in heats
    ]
    found = importances(question(), torn)
    assert found is not None
    assert found.settings[0].path == LR
    assert found.settings[0].shown
    more = [replace(heats[0], status=status) for status in (Status.RUNNING, Status.FAILED)]
    segment = replace(heats[0], parent="h1")
    assert importances(question(), [*torn, *more, segment]) == found


def test_the_lowest_can_be_the_best() -> None:
    heats = drawn(0, 32, 1)
    falling = [replace(h, history=[{**row, "val/accuracy": -row["val/accuracy"]} for row in h.history]) for h in heats]
    assert shares(importances(question("min"), falling)) == pytest.approx(shares(importances(question(), heats)))


@pytest.mark.parametrize(
    "heats",
    [[], drawn(0, 9, 2), drawn(0, 30, 0), [replace(h, point={**h.point, "z0": 1.0}) for h in drawn(0, 30, 1)]],
    ids=["none", "too few", "one setting", "one that varies"],
)
def test_nothing_is_said_of_few_heats_or_of_one_setting(heats: list[TrialRecord]) -> None:
    assert importances(question(), heats) is None


def test_heats_that_are_all_the_same_say_nothing() -> None:
    assert importances(question(), drawn(0, 20, 1, lambda *_: 0.9)) is None


def test_the_same_seed_gives_the_same_and_many_heats_are_drawn_from() -> None:
    heats = drawn(0, MOST + 20, 1)
    found = importances(question(), heats)
    assert found is not None
    assert found.heats == MOST
    assert importances(question(), heats) == found
