"""Holes: typed, named by their place, checked, filled."""

from __future__ import annotations

import pytest

from sweeps import choice, each, int_range, log_uniform, uniform
from sweeps.engine import space
from trainables import EMA, SGD, AdamW, ClipNorm, Recipe
from trainables.models import MLP


def test_holes_are_named_by_their_place() -> None:
    recipe = Recipe(
        model=MLP(widths=(int_range(8, 64), 32)), batch_size=each(16, 32), optimizer=AdamW(lr=log_uniform(1e-4, 1e-2))
    )
    assert [path for path, _ in space.holes(recipe)] == ["model.widths.0", "batch_size", "optimizer.lr"]


def test_levels_are_all_combinations_in_order_and_nested_factors_belong_to_their_option() -> None:
    recipe = Recipe(
        model=MLP(),
        batch_size=each(16, 32),
        optimizer=each(AdamW(lr=log_uniform(1e-4, 1e-2)), SGD(lr=uniform(0.1, 1), momentum=each(0.0, 0.9))),
    )
    assert space.levels((recipe, "")) == [
        {"batch_size": size} | optimizer
        for size in (16, 32)
        for optimizer in (
            {"optimizer": "AdamW"},
            {"optimizer": "SGD", "optimizer.momentum": 0.0},
            {"optimizer": "SGD", "optimizer.momentum": 0.9},
        )
    ]
    assert space.levels((Recipe(model=MLP()), "")) == [{}]


def test_resolving_fills_every_hole_and_asks_only_for_what_was_taken() -> None:
    recipe = Recipe(
        model=MLP(widths=(int_range(8, 64), 32)),
        optimizer=choice(AdamW(lr=log_uniform(1e-4, 1e-2)), SGD(lr=uniform(0.1, 1.0))),
        average=choice(None, EMA(decay=uniform(0.9, 0.99))),
    )
    asked: list[str] = []

    def filler(path: str, _: space.Hole) -> space.Scalar:
        asked.append(path)
        return {"model.widths.0": 9, "optimizer": "SGD", "optimizer.lr": 0.5, "average": None}[path]

    filled = space.resolve(recipe, filler)
    assert filled == Recipe(model=MLP(widths=(9, 32)), optimizer=SGD(lr=0.5), average=None)
    assert asked == ["model.widths.0", "optimizer", "optimizer.lr", "average"]
    assert space.resolve(filled, filler) is filled


@pytest.mark.parametrize(
    ("hole", "said"),
    [
        (each(), "each() is empty"),
        (choice(), "choice() is empty"),
        (each(16, 16), "each names 16 more than once"),
        (choice(SGD(lr=uniform(0, 1)), SGD(lr=uniform(1, 2))), "choice names SGD more than once"),
        (uniform(1.0, 1.0), "is empty"),
        (log_uniform(0.0, 1.0), "a logarithm needs an end above 0"),
        (log_uniform(1.0, 0.1), "the first end must be below the second"),
        (uniform(0.0, float("inf")), "both finite"),
        (int_range(5, 4), "is empty"),
        (int_range(0, 4, log=True), "a logarithm needs an end from 1"),
    ],
)
def test_an_empty_space_is_said(hole: space.Hole, said: str) -> None:
    (conflict,) = space.conflicts("optimizer.lr", hole)
    assert conflict.startswith("optimizer.lr: ")
    assert said in conflict


def test_good_holes_have_no_conflicts() -> None:
    for hole in (each(1, 2), choice(True, False, "1"), uniform(0, 1), log_uniform(1e-5, 1), int_range(3, 3)):
        assert list(space.conflicts("x", hole)) == []  # type: ignore[arg-type]


def test_options_of_one_kind_are_told_apart_by_their_settings() -> None:
    hole = space.Each((SGD(momentum=0.0), SGD(momentum=0.9), None, ClipNorm(1.0)))
    assert [space.name(option) for option in hole.options] == ["SGD", "SGD(momentum=0.9)", None, "ClipNorm(norm=1.0)"]
    assert space.option(hole, "SGD(momentum=0.9)") == SGD(momentum=0.9)
    with pytest.raises(KeyError, match="none of SGD"):
        space.option(hole, "Adam")


def test_settings_are_written_as_the_file_has_them() -> None:
    recipe = Recipe(model=MLP(widths=(8,)), optimizer=AdamW(lr=log_uniform(1e-4, 3e-2)), batch_size=each(16, 512))
    settings = dict(space.settings(recipe))
    assert settings["optimizer"] == "AdamW"
    assert settings["optimizer.lr"] == "log_uniform(0.0001, 0.03)"
    assert settings["batch_size"] == "each(16, 512)"
    assert settings["model.widths"] == "(8,)"
    assert space.written(recipe.optimizer) == "AdamW(lr=log_uniform(0.0001, 0.03))"
