"""Configuration as text and as JSON."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from trainables import EMA, FP32, SGD, AdamW, Recipe
from trainables.describe import label, plain, text
from trainables.metrics import accuracy
from trainables.models import MLP


def test_labels_name_what_is_special() -> None:
    assert label(64) == 64
    assert label(None) is None
    assert label(AdamW()) == "AdamW"
    assert label(SGD(momentum=0.9)) == "SGD(momentum=0.9)"
    assert label((64, 64)) == "(64, 64)"
    assert label((64,)) == "(64,)"
    assert text(partial(accuracy, 1, k=2)) == "accuracy(1, k=2)"
    assert text(FP32()) == "FP32"


def test_plain_tells_every_setting_apart_and_nothing_else() -> None:
    base = Recipe(model=MLP(widths=(8,)), optimizer=AdamW(lr=1e-3))
    assert plain(base) == plain(Recipe(model=MLP(widths=(8,)), optimizer=AdamW(lr=1e-3)))
    assert plain(base) != plain(Recipe(model=MLP(widths=(9,)), optimizer=AdamW(lr=1e-3)))
    assert plain(base) != plain(Recipe(model=MLP(widths=(8,)), optimizer=SGD(lr=1e-3)))
    assert plain(EMA())["decay"] == 0.999
    assert plain(accuracy) == "accuracy"


class Plain:
    """A class of the user's own that is no dataclass."""

    def __init__(self, width: int) -> None:
        self.width = width

    def __call__(self) -> int:
        return self.width


def scaled(factor: float) -> Callable[[float], float]:
    return lambda x: factor * x


class Slotted:
    __slots__ = ("width",)

    def __init__(self, width: int) -> None:
        self.width = width


def test_functions_without_a_name_are_told_apart_by_code_and_closure() -> None:
    assert plain(scaled(1.0)) == plain(scaled(1.0)) != plain(scaled(2.0))
    assert plain(lambda x: x + 1) != plain(lambda x: x + 2)
    assert plain(frozenset("abcd")) == ["a", "b", "c", "d"]
    assert plain(Slotted(3)) == {"": "Slotted", "width": 3}


def test_objects_without_a_text_of_their_own_are_told_apart_by_what_they_hold() -> None:
    assert plain(Plain(3)) == plain(Plain(3)) != plain(Plain(4))
    assert text(Plain(3)) == "Plain"
