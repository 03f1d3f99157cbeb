"""The number of parameters is what each docstring says, worked out by hand."""

from __future__ import annotations

import pytest
from torch import nn

from tests.trainables.models.members import Architecture
from trainables.models import (
    CNN,
    GRU,
    LSTM,
    MLP,
    TCN,
    MultiPlasticity,
    ResidualMLP,
    StateSpace,
    Transformer,
    parameters,
)
from trainables.task import Shape

COUNTS: list[tuple[Architecture, tuple[int, ...], int]] = [
    (MLP(widths=()), (3,), 3 * 5 + 5),
    (MLP(widths=(7, 4)), (2, 3), (6 + 1) * 7 + (7 + 1) * 4 + (4 + 1) * 5),
    (MLP(widths=(7, 4), norm=True), (6,), (6 + 1) * 7 + 14 + (7 + 1) * 4 + 8 + (4 + 1) * 5),
    (ResidualMLP(width=4, depth=1, expansion=3), (6,), 7 * 4 + (8 + 5 * 12 + 13 * 4) + 8 + 5 * 5),
    (ResidualMLP(width=6, depth=3), (2,), 3 * 6 + 3 * (12 + 7 * 12 + 13 * 6) + 12 + 7 * 5),
    (CNN(channels=(4, 8)), (2, 6, 6), 9 * 2 * 4 + 8 + 9 * 4 * 8 + 16 + 9 * 5),
    (CNN(channels=(8,), norm="group"), (16,), 9 * 8 + 16 + 9 * 5),
    (CNN(channels=(6,), norm="none", kernel=5), (4, 4), 25 * 6 + 6 + 7 * 5),
    (LSTM(width=4), (7, 3), 4 * 4 * (3 + 4 + 2) + 5 * 5),
    (LSTM(width=4, depth=3), (7, 3), 4 * 4 * (3 + 4 + 2) + 2 * 4 * 4 * (4 + 4 + 2) + 5 * 5),
    (GRU(width=4), (7,), 3 * 4 * (1 + 4 + 2) + 5 * 5),
    (GRU(width=4, depth=2, steps=2), (6,), 3 * 4 * (3 + 4 + 2) + 3 * 4 * (4 + 4 + 2) + 5 * 5),
    (TCN(width=4, depth=1), (7, 3), (3 * 3 * 4 + 8) + (3 * 16 + 8) + 4 * 4 + 5 * 5),
    (TCN(width=4, depth=2, kernel=2), (7, 4), 2 * 2 * (2 * 16 + 8) + 5 * 5),
    (Transformer(width=4, heads=2, depth=1), (7, 3), 16 + 28 + (64 + 4 + 8) + (5 * 16 + 17 * 4 + 8) + 8 + 25),
    (
        Transformer(width=4, heads=1, depth=2, expansion=2, positions="sinusoidal"),
        (7, 3),
        16 + 2 * ((64 + 4 + 8) + (5 * 8 + 9 * 4 + 8)) + 8 + 25,
    ),
    (StateSpace(width=4, depth=1, states=3), (7, 3), 16 + (8 + 8 + 4 * 12 + 8 * 5) + 8 + 25),
    (StateSpace(width=6, depth=2, states=1), (7,), 12 + 2 * (12 + 12 + 4 * 6 + 12 * 7) + 12 + 7 * 5),
    (MultiPlasticity(width=4, time_constants=(3.0,)), (7, 3), 12 + 4 + 16 * 2 + 1 + 25),
    (MultiPlasticity(width=4, depth=2), (7, 3), (12 + 4 + 16 * 4 + 3) + (16 + 4 + 16 * 4 + 3) + 25),
]


@pytest.mark.parametrize(("model", "inputs", "expected"), COUNTS, ids=lambda value: type(value).__name__)
def test_parameters_are_what_the_formula_says(model: Architecture, inputs: tuple[int, ...], expected: int) -> None:
    assert parameters(model, Shape(inputs=inputs, outputs=5)) == expected


def test_every_architecture_is_counted_at_two_settings() -> None:
    kinds = [type(model) for model, _, _ in COUNTS]
    assert {kind: kinds.count(kind) >= 2 for kind in kinds} == dict.fromkeys(kinds, True)
    assert len(set(kinds)) == 9


def test_a_model_that_names_its_sizes_needs_no_data() -> None:
    assert parameters(MLP(widths=(2,), inputs=3, outputs=1)) == 4 * 2 + 3
    with pytest.raises(ValueError, match="lacks inputs or outputs"):
        parameters(MLP())


def test_only_what_is_trained_counts() -> None:
    class Half:
        def build(self) -> nn.Module:
            return nn.Sequential(nn.Linear(3, 4).requires_grad_(False), nn.BatchNorm1d(4), nn.Linear(4, 2))

    assert parameters(Half()) == parameters(Half(), Shape(inputs=(9,), outputs=9)) == 8 + 10
