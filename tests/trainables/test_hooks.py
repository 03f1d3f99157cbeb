"""One's own code around the epochs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.trainables.small import recipe, task
from trainables import Recipe
from trainables.fit import Epoch
from trainables.hooks import HookError
from trainables.train import Ending, Trained, train


def trained(settings: Recipe, folder: Path, *, stop_at: int | None = None) -> Trained:
    return train(task, settings, folder=folder, report=lambda history: len(history) == stop_at)


@dataclass
class Diary:
    """Notes what happens."""

    notes: list[str]
    end_after: int | None = None

    def __call__(self, epochs: Iterator[Epoch]) -> Iterator[Epoch]:
        self.notes.append("start")
        try:
            for epoch in epochs:
                self.notes.append(f"before {epoch.epoch}")
                epoch.run.history[-1]["diary/pages"] = float(len(self.notes))
                yield epoch
                self.notes.append(f"after {epoch.epoch}")
                if epoch.epoch == self.end_after:
                    return
        finally:
            self.notes.append("end")


def test_it_runs_around_every_epoch_and_its_numbers_are_logged(tmp_path: Path) -> None:
    diary = Diary([])
    history = trained(recipe(epochs=2, hooks=(diary,)), tmp_path).history
    assert diary.notes == ["start", "before 1", "after 1", "before 2", "after 2", "end"]
    assert [row["diary/pages"] for row in history] == [2.0, 4.0]


def test_a_run_that_is_stopped_ends_its_hooks(tmp_path: Path) -> None:
    diary = Diary([])
    assert trained(recipe(epochs=4, hooks=(diary,)), tmp_path, stop_at=1).ending is Ending.STOPPED
    assert diary.notes == ["start", "before 1", "end"]


def test_a_run_that_is_left_ends_its_hooks_before_anybody_hears_of_it(tmp_path: Path) -> None:
    """Not when its last frame is freed, which an exception that is looked at, or a cycle, puts off into another run."""
    diary = Diary([])

    def leaves(_: object) -> bool:
        raise SystemExit(0)

    with pytest.raises(SystemExit) as left:
        train(task, recipe(epochs=4, hooks=(diary,)), folder=tmp_path, report=leaves)
    assert diary.notes == ["start", "before 1", "end"]
    assert left.tb is not None


def test_one_that_cannot_be_ended_takes_nothing_with_it(tmp_path: Path) -> None:
    def torn(epochs: Iterator[Epoch]) -> Iterator[Epoch]:
        try:
            yield from epochs
        finally:
            raise ValueError("the file is gone")

    with pytest.warns(UserWarning, match="the hook .*torn raised ValueError while it was ended: the file is gone"):
        result = trained(recipe(epochs=4, hooks=(torn,)), tmp_path, stop_at=2)
    assert result.ending is Ending.STOPPED
    assert len(result.history) == 2


def test_a_hook_may_end_the_run(tmp_path: Path) -> None:
    result = trained(recipe(epochs=4, hooks=(Diary([], end_after=2),)), tmp_path)
    assert result.ending is Ending.COMPLETED
    assert len(result.history) == 2


def test_hooks_lie_around_each_other(tmp_path: Path) -> None:
    notes: list[str] = []

    def inner(epochs: Iterator[Epoch]) -> Iterator[Epoch]:
        for epoch in epochs:
            notes.append("inner")
            yield epoch

    def outer(epochs: Iterator[Epoch]) -> Iterator[Epoch]:
        for epoch in epochs:
            notes.append("outer")
            yield epoch

    trained(recipe(epochs=1, hooks=(inner, outer)), tmp_path)
    assert notes == ["inner", "outer"]


def broken(epochs: Iterator[Epoch]) -> Iterator[Epoch]:
    for epoch in epochs:
        if epoch.epoch == 3:
            raise KeyError("wings")
        yield epoch


def greedy(epochs: Iterator[Epoch]) -> Iterator[Epoch]:
    for epoch in epochs:
        next(epochs)
        yield epoch


def test_one_that_raises_is_named_and_the_epochs_before_are_kept(tmp_path: Path) -> None:
    with pytest.raises(HookError, match="the hook broken raised KeyError: 'wings'"):
        trained(recipe(epochs=4, hooks=(broken,)), tmp_path)
    assert len(trained(recipe(epochs=4), tmp_path).history) == 4
    undisturbed = trained(recipe(epochs=4), tmp_path / "other").history
    again = trained(recipe(epochs=4), tmp_path).history
    assert [row["train/loss"] for row in again] == [row["train/loss"] for row in undisturbed]


def test_one_that_keeps_an_epoch_to_itself_is_refused(tmp_path: Path) -> None:
    with pytest.raises(HookError, match="the hook greedy must yield every epoch"):
        trained(recipe(epochs=4, hooks=(greedy,)), tmp_path)


def test_an_error_of_the_loop_is_not_the_hook_s(tmp_path: Path) -> None:
    def loss(*_: object) -> object:
        raise ZeroDivisionError("in the loss")

    with pytest.raises(ZeroDivisionError, match="in the loss"):
        trained(recipe(hooks=(Diary([]),), loss=loss), tmp_path)
