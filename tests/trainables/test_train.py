"""A whole run with its checkpoints: endings, resumption, what is kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.trainables.small import recipe, task
from trainables import EMA, SGD, EarlyStopping
from trainables.checkpoints import load, load_weights
from trainables.keep import BEFORE, BEST, LAST
from trainables.train import Ending, best_epoch, train

History = Sequence[Mapping[str, Any]]


def never(_: History) -> bool:
    return False


def numbers(history: History) -> list[tuple[float, ...]]:
    """What must not depend on how often a run was interrupted."""
    return [
        (row["epoch"], row["step"], row["lr"], row["train/loss"], row["val/accuracy"], row["val/loss"])
        for row in history
    ]


def test_it_ends_completed_and_keeps_best_and_last(tmp_path: Path) -> None:
    trained = train(task, recipe(epochs=8), folder=tmp_path, report=never)
    assert trained.ending is Ending.COMPLETED
    assert trained.best_epoch == best_epoch(trained.history, task.goal)
    best, last, before = load_weights(tmp_path / BEST), load(tmp_path / LAST), load(tmp_path / BEFORE)
    assert best is not None
    assert last is not None
    assert before is not None
    assert best.epoch == trained.best_epoch
    assert last["epoch"] == 8
    assert before["epoch"] == 7
    assert sorted(path.name for path in tmp_path.iterdir()) == [BEFORE, BEST, LAST]


def test_the_best_checkpoint_holds_the_weights_that_were_validated(tmp_path: Path) -> None:
    from trainables.evaluate import evaluate
    from trainables.run import Run

    settings = recipe(epochs=8, average=EMA(decay=0.9))
    trained = train(task, settings, folder=tmp_path, report=never)
    run = Run.start(task, settings, splits=None, device=torch.device("cpu"))
    best = load_weights(tmp_path / BEST)
    assert best is not None
    run.module.load_state_dict(best.module)
    values = evaluate(
        run.module, run.splits.val, loss=run.loss, metrics=task.metrics, precision=settings.precision, size=256
    )
    row = trained.history[best.epoch - 1]
    assert values["accuracy"] == row["val/accuracy"]
    assert values["loss"] == pytest.approx(row["val/loss"], rel=1e-12)


def test_a_report_that_says_stop_stops(tmp_path: Path) -> None:
    trained = train(task, recipe(), folder=tmp_path, report=lambda history: len(history) == 2)
    assert trained.ending is Ending.STOPPED
    assert len(trained.history) == 2


def test_stopping_at_the_last_epoch_is_completing(tmp_path: Path) -> None:
    assert train(task, recipe(), folder=tmp_path, report=lambda history: len(history) == 4).ending is Ending.COMPLETED


def test_a_run_that_had_ended_gives_its_result_again_without_training(tmp_path: Path) -> None:
    first = train(task, recipe(), folder=tmp_path, report=never)
    calls: list[int] = []
    again = train(task, recipe(), folder=tmp_path, report=lambda rows: bool(calls.append(len(rows))))
    assert not calls
    assert again == first


def test_divergence_ends_a_run_and_says_where(tmp_path: Path) -> None:
    trained = train(task, recipe(optimizer=SGD(lr=1e200), epochs=8), folder=tmp_path, report=never)
    assert trained.ending is Ending.DIVERGED
    assert trained.reason is not None
    assert "at epoch" in trained.reason
    assert len(trained.history) < 8
    again = train(task, recipe(optimizer=SGD(lr=1e200), epochs=8), folder=tmp_path, report=never)
    assert again.ending is Ending.DIVERGED


def test_early_stopping_stops_where_the_history_says_also_after_a_resume(tmp_path: Path) -> None:
    settings = recipe(epochs=60, optimizer=SGD(lr=0.5), stop=EarlyStopping(patience=3))
    whole = train(task, settings, folder=tmp_path / "whole", report=never)
    assert whole.ending is Ending.COMPLETED
    assert whole.reason == "no improvement in 3 epochs"
    assert whole.best_epoch is not None
    assert len(whole.history) == whole.best_epoch + 3 < 60
    train(task, settings, folder=tmp_path / "parts", report=lambda history: len(history) == 2)
    resumed = train(task, settings, folder=tmp_path / "parts", report=never)
    assert numbers(resumed.history) == numbers(whole.history)


def test_min_delta_counts_only_what_is_larger() -> None:
    history = [{"val/accuracy": value} for value in (0.5, 0.505, 0.509, 0.52)]
    assert EarlyStopping(patience=2, min_delta=0.01).exhausted(history[:3], task.goal)
    assert not EarlyStopping(patience=2, min_delta=0.01).exhausted(history, task.goal)
    assert not EarlyStopping(patience=2).exhausted(history, task.goal)
