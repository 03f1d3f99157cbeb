"""After which epochs, and where within them, each policy asks to look."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.trainables.small import recipe
from trainables import EveryEpoch, Maximise, Minimise, OnPlateau, Sampled, Thirds, WithinEpoch
from trainables.schedules import Plateau
from trainables.stopping import EarlyStopping
from trainables.train import best_epoch
from trainables.validation import Validation
from trainables.validation.also_at import AlsoAt
from trainables.validation.validation import Picking, due

ALL: list[Validation] = [EveryEpoch(), Thirds(), OnPlateau(), Sampled(), WithinEpoch()]


def passes(policy: Validation, epochs: int, value: Callable[[int], float], goal: Maximise | Minimise) -> list[int]:
    """The epochs that end with a full pass, in a run that is worth ``value`` after each."""
    history: list[dict[str, Any]] = []
    for epoch in range(1, epochs + 1):
        row: dict[str, Any] = {"epoch": epoch, "train/loss": 1.0, "val/loss_sample": 1.0}
        if due(policy, epoch, epochs, history, goal):
            row["val/x"] = value(epoch)
        history.append(row)
    return [row["epoch"] for row in history if "val/x" in row]


def rising(epoch: int) -> float:
    return float(epoch)


@pytest.mark.parametrize(
    ("policy", "epochs", "expected"),
    [
        (EveryEpoch(), 5, [1, 2, 3, 4, 5]),
        (Thirds(early=4, mid=2, late=1), 12, [4, 6, 8, 9, 10, 11, 12]),
        (Thirds(early=3, mid=2, late=4), 20, [3, 6, 8, 10, 12, 14, 16, 20]),
        (Thirds(early=1, mid=1, late=1), 4, [1, 2, 3, 4]),
        (Thirds(early=9, mid=9, late=9), 7, [7]),
        (Sampled(every=5), 12, [5, 10, 12]),
        (WithinEpoch(), 3, [1, 2, 3]),
        (AlsoAt(policy=Thirds(early=9, mid=9, late=9), epoch=3), 7, [3, 7]),
    ],
    ids=str,
)
def test_by_the_epoch_s_number_and_always_at_the_last(policy: Validation, epochs: int, expected: list[int]) -> None:
    assert passes(policy, epochs, rising, Maximise("x")) == expected


@pytest.mark.parametrize("sign", [1, -1])
def test_a_plateau_is_looked_at_less_often_until_it_is_left(sign: int) -> None:
    goal = Maximise("x") if sign > 0 else Minimise("x")

    def value(epoch: int) -> float:
        return sign * (0.1 if epoch == 1 else 0.2 if epoch < 7 else 0.9)

    policy = OnPlateau(patience=2, every=3)
    assert passes(policy, 14, value, goal) == [1, 2, 3, 4, 7, 8, 9, 12, 14]
    # What is gained at 7 is within the tolerance, so the plateau goes on.
    assert passes(OnPlateau(patience=2, every=3, min_delta=0.85), 14, value, goal) == [1, 2, 3, 6, 9, 12, 14]


@pytest.mark.parametrize(
    ("every", "steps", "expected"),
    [
        (0.25, 8, {2, 4, 6}),
        (0.25, 61, {15, 30, 46}),
        (0.5, 1, set()),
        (0.25, 2, {1}),
        (1 / 3, 9, {3, 6}),
        (0.1, 100, set(range(10, 100, 10))),
        (3, 8, {3, 6}),
        (3, 3, set()),
        (1, 4, {1, 2, 3}),
    ],
)
def test_within_an_epoch_by_batches_or_by_fractions_but_not_at_its_end(
    every: float, steps: int, expected: set[int]
) -> None:
    assert WithinEpoch(every=every).within(steps) == expected


@pytest.mark.parametrize("policy", ALL, ids=str)
def test_a_policy_is_free_of_conflicts_and_a_part(policy: Validation) -> None:
    assert isinstance(policy, Validation)
    assert list(recipe(validation=policy).conflicts()) == []


def test_only_some_ask_for_samples_by_number() -> None:
    picking = [policy for policy in (*ALL, WithinEpoch(share=0.5)) if isinstance(policy, Picking) and policy.picks]
    assert picking == [Sampled(), WithinEpoch(share=0.5)]
    assert AlsoAt(policy=Sampled(), epoch=1).picks
    assert not AlsoAt(policy=Thirds(), epoch=1).picks


@pytest.mark.parametrize(
    ("policy", "said"),
    [
        (Thirds(mid=0), "Thirds mid 0 must be a whole number of epochs from 1"),
        (OnPlateau(patience=0), "OnPlateau patience 0 must be a whole number of full passes from 1"),
        (OnPlateau(every=True), "OnPlateau every True must be a whole number"),
        (OnPlateau(min_delta=-0.1), "OnPlateau min_delta -0.1 must not be negative"),
        (Sampled(share=0.0), "Sampled share 0.0 must lie above 0"),
        (Sampled(share=1.5), "Sampled share 1.5 must lie above 0 and not above 1, which is a full pass"),
        (Sampled(every=2.5), "Sampled every 2.5 must be a whole number"),  # type: ignore[arg-type]
        (WithinEpoch(every=0), "WithinEpoch every 0 must be a fraction"),
        (WithinEpoch(every=2.5), "WithinEpoch every 2.5 must be a fraction"),
        (WithinEpoch(share=-1), "WithinEpoch share -1 must lie above 0"),
        (Sampled(share="a"), "Sampled share 'a' must lie"),  # type: ignore[arg-type]
        (
            WithinEpoch(every=1.0),
            "WithinEpoch every 1.0 must be a fraction of the epoch below 1, or a whole number of batches",
        ),
        (WithinEpoch(every=float("inf")), "WithinEpoch every inf must be a fraction"),
        (WithinEpoch(every=True), "WithinEpoch every True must be a fraction"),
        (WithinEpoch(every="a"), "WithinEpoch every 'a' must be a fraction"),  # type: ignore[arg-type]
        (None, "validation None would leave a run without a value"),
        ("often", "validation 'often' is a str, not a part"),
    ],
    ids=str,
)
def test_conflicts_name_the_value_the_rule_and_the_way_out(policy: Any, said: str) -> None:
    (sentence,) = recipe(validation=policy).conflicts()
    assert said in sentence


SPARSE: list[dict[str, Any]] = [
    {"epoch": 1, "val/x_sample": 0.99},
    {"epoch": 2, "val/x": 0.5},
    {"epoch": 3, "val/x_sample": 0.98},
    {"epoch": 4, "val/x": 0.6},
    {"epoch": 5},
    {"epoch": 6, "val/x": 0.55},
]
"""Full passes at 2, 4 and 6; samples that would have it otherwise."""


def test_only_full_passes_choose_stop_and_change_the_rate() -> None:
    goal = Maximise("x")
    assert best_epoch(SPARSE, goal) == 4
    assert not EarlyStopping(patience=2).exhausted(SPARSE, goal)
    assert EarlyStopping(patience=1).exhausted(SPARSE, goal)
    assert not EarlyStopping(patience=1).exhausted(SPARSE[:5], goal)
    reduced = Plateau(patience=0, factor=0.1)
    assert reduced.after(SPARSE[:5], goal)(0.5) == 1.0
    assert reduced.after(SPARSE, goal)(0.5) == pytest.approx(0.1)
