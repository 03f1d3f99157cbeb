"""The INT8 copy as a validator: near the model, under names of its own, and never taken for it."""

from __future__ import annotations

import sys

import pytest
import torch

from tests.trainables.small import recipe, task
from trainables import EMA, ConflictError
from trainables.data.source import count
from trainables.export import Quantised
from trainables.fit import Epoch, fit
from trainables.models import MLP, StateSpace
from trainables.train import best_epoch
from trainables.validation import EveryEpoch
from trainables.validation.__main__ import usual
from trainables.validation.compare import compared
from trainables.validation.int8 import Int8


def epochs(**changes: object) -> list[Epoch]:
    return [*fit(task, recipe(**{"epochs": 5, "model": MLP(widths=(32, 16)), **changes}))]


def test_the_copy_is_asked_every_epoch_the_model_now_and_then() -> None:
    rows = epochs(validation=Int8(every=2))[-1].run.history
    assert ["val/accuracy" in row for row in rows] == [False, True, False, True, True]
    assert all({"val/accuracy_int8", "val/loss_int8"} <= row.keys() for row in rows)
    full = [row for row in rows if "val/loss" in row]
    assert all(row["val/loss_int8_error"] == pytest.approx(row["val/loss_int8"] - row["val/loss"]) for row in full)
    assert all(0 < abs(row["val/loss_int8_error"]) < 0.05 * row["val/loss"] for row in full)
    assert all("val/loss_int8_error" not in row for row in rows if row not in full)
    assert best_epoch(rows, task.goal) in {row["epoch"] for row in full}


def test_it_follows_the_weights_that_would_be_used_and_changes_nothing_that_is_learned() -> None:
    plain = epochs(validation=EveryEpoch(), average=EMA(decay=0.9))
    looked = epochs(validation=Int8(every=1), average=EMA(decay=0.9))
    for before, after in zip(plain, looked, strict=True):
        assert before.run.history[-1]["train/loss"] == after.run.history[-1]["train/loss"]
        assert {name: after.metrics[name] for name in before.metrics} == before.metrics
    losses = [row["val/loss_int8"] for row in looked[-1].run.history]
    assert len(set(losses)) == len(losses)
    run = looked[-1].run
    anew = Quantised(run.deployed, run.splits.val[:-1]).copied(run.deployed)
    inputs, target = run.splits.val
    assert float(run.loss(anew(inputs), target).mean()) == pytest.approx(losses[-1], rel=1e-6)
    assert count(run.splits.val) == len(target)


def test_what_has_no_copy_is_said() -> None:
    with pytest.raises(ValueError, match="cannot be exported"):
        epochs(validation=Int8(), model=StateSpace(width=4, states=2))


def test_the_table_of_policies_has_it() -> None:
    assert Int8() in usual()
    (found,) = compared(task, recipe(epochs=3), [Int8(every=2)]).outcomes
    assert (found.full, found.partial) == (2, 3)
    assert found.errors["val"].largest < 0.1


def test_conflicts(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [*Int8().conflicts()] == []
    assert "every 0" in next(Int8(every=0).conflicts())
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ConflictError, match=r"Int8 needs onnx; install the extra: .*\[export\]"):
        epochs(validation=Int8())
    assert torch.is_grad_enabled()
