"""A whole run with its checkpoints: endings, resumption, what is kept."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.trainables.small import recipe, task
from trainables import EMA, SGD, EarlyStopping
from trainables.checkpoints import BEST, LAST, load, save
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
    best, last = load(tmp_path / BEST), load(tmp_path / LAST)
    assert best is not None
    assert last is not None
    assert best["epoch"] == trained.best_epoch
    assert last["epoch"] == 8
    assert sorted(path.name for path in tmp_path.iterdir()) == [BEST, LAST]


def test_the_best_checkpoint_holds_the_weights_that_were_validated(tmp_path: Path) -> None:
    from trainables.evaluate import evaluate
    from trainables.run import Run

    settings = recipe(epochs=8, average=EMA(decay=0.9))
    trained = train(task, settings, folder=tmp_path, report=never)
    run = Run.start(task, settings, splits=None, device=torch.device("cpu"))
    best = load(tmp_path / BEST)
    assert best is not None
    run.module.load_state_dict(best["module"])
    values = evaluate(
        run.module, run.splits.val, loss=run.loss, metrics=task.metrics, precision=settings.precision, size=256
    )
    row = trained.history[best["epoch"] - 1]
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


def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    train(task, recipe(epochs=1), folder=tmp_path, report=never)
    (tmp_path / LAST).write_bytes((tmp_path / LAST).read_bytes()[:100])
    with pytest.raises(ValueError, match=r"last\.pt is damaged"):
        train(task, recipe(epochs=2), folder=tmp_path, report=never)


def test_checkpoints_never_run_code(tmp_path: Path) -> None:
    torch.save({"format": Path("x")}, tmp_path / LAST)
    with pytest.raises(ValueError, match="damaged"):
        load(tmp_path / LAST)


def test_a_failed_write_leaves_the_old_checkpoint(tmp_path: Path) -> None:
    save(tmp_path / LAST, {"epoch": 1})
    with pytest.raises((AttributeError, TypeError, RuntimeError)):
        save(tmp_path / LAST, {"epoch": lambda: 2})
    assert load(tmp_path / LAST) == {"epoch": 1}


KILLED = """
import sys, time
from pathlib import Path
from tests.trainables.small import recipe, task
from trainables import EMA, Cosine
from trainables.train import train

def report(history):
    print(len(history), flush=True)
    return False

settings = recipe(epochs=400, average=EMA(decay=0.99), schedule=Cosine(warmup=0.1), micro_batch=5)
train(task, settings, folder=Path(sys.argv[1]), report=report)
"""


def test_kill_9_at_any_moment_loses_at_most_the_epoch_under_way(tmp_path: Path) -> None:
    """Killed again and again at odd moments, the run ends bit for bit as the undisturbed one."""
    from trainables import Cosine

    settings = recipe(epochs=400, average=EMA(decay=0.99), schedule=Cosine(warmup=0.1), micro_batch=5)
    whole = train(task, settings, folder=tmp_path / "whole", report=never)
    kills = 0
    for pause in (0.05, 0.17, 0.11, 0.23):
        process = subprocess.Popen(
            [sys.executable, "-c", KILLED, str(tmp_path / "killed")], stdout=subprocess.PIPE, text=True, cwd=Path.cwd()
        )
        assert process.stdout is not None
        first = process.stdout.readline()
        time.sleep(pause)
        os.kill(process.pid, signal.SIGKILL)
        told = [int(line) for line in [first, *process.stdout.readlines()] if line.strip()]
        process.wait()
        process.stdout.close()
        state = load(tmp_path / "killed" / LAST)
        assert state is not None
        if told:
            kills += 1
            assert state["epoch"] >= told[-1]
    assert kills >= 2
    resumed = train(task, settings, folder=tmp_path / "killed", report=never)
    assert numbers(resumed.history) == numbers(whole.history)
    mine, theirs = load(tmp_path / "killed" / LAST), load(tmp_path / "whole" / LAST)
    assert mine is not None
    assert theirs is not None
    for name, tensor in theirs["module"].items():
        assert torch.equal(mine["module"][name], tensor)
