"""The INT8 copy as a validator: near the model, under names of its own, and never taken for it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.trainables.small import clusters, recipe, task
from trainables import EMA, SGD, ConflictError, InMemory, Splits
from trainables.data.source import count
from trainables.export import Quantised
from trainables.fit import Epoch, fit
from trainables.models import MLP, StateSpace
from trainables.run import Run
from trainables.train import best_epoch, train
from trainables.validation import EveryEpoch, Validation
from trainables.validation.__main__ import show, usual
from trainables.validation.also_at import AlsoAt
from trainables.validation.compare import compared
from trainables.validation.int8 import MADE, Int8

NO_ONNX = StateSpace(width=4, states=2)
"""Its complex numbers have no form there."""


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


NO_COPY = (
    r"needs an INT8 copy of StateSpace\(.*\), and there is none: .* cannot be exported: .*; or take EveryEpoch\(\)"
)


@pytest.mark.parametrize("segment", [False, True], ids=["a whole run", "a segment"])
def test_what_has_no_copy_is_said_before_the_first_step(segment: bool) -> None:
    """Whatever the epoch at whose end the copy would be asked first."""
    steps: list[int] = []

    def through(run: Run, batches: Iterator[tuple[Tensor, ...]]) -> Iterator[tuple[Tensor, ...]]:
        for batch in batches:
            steps.append(run.step)
            yield batch

    policy: Validation = Int8(every=9)
    settings = recipe(validation=AlsoAt(policy=policy, epoch=2) if segment else policy, model=NO_ONNX)
    with pytest.raises(ConflictError, match=NO_COPY):
        next(fit(task, settings, through=through))
    assert not steps


def test_a_model_that_has_learned_nothing_yet_has_a_graph_that_takes_weights_quickly() -> None:
    """All weights of its layers are alike, so none could be told from another by its values."""

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Zero:
        def build(self) -> nn.Module:
            net = nn.Sequential(nn.Linear(2, 2), nn.Tanh(), nn.Linear(2, 2), nn.Tanh(), nn.Linear(2, 3))
            for parameter in net.parameters():
                nn.init.zeros_(parameter)
            return net

    run = epochs(validation=Int8(every=1), model=Zero(), epochs=1)[-1].run
    assert run.made[MADE].quick


def test_a_run_that_diverges_is_told_as_one(tmp_path: Path) -> None:
    """Weights that are not finite have no copy, and the model itself is asked, in its own precision, also of a source."""

    def looked_up(seed: int) -> Splits[Any]:
        splits = clusters(seed)
        return replace(splits, val=InMemory(splits.val))

    settings = recipe(optimizer=SGD(lr=1e200), validation=Int8(every=9), model=MLP(widths=(8,)))
    trained = train(replace(task, data=looked_up), settings, folder=tmp_path, report=lambda _: False)
    assert trained.ending == "diverged"


def test_the_table_of_policies_has_it() -> None:
    assert Int8() in usual()
    (found,) = compared(task, recipe(epochs=3), [Int8(every=2)]).outcomes
    assert (found.full, found.partial) == (2, 3)
    assert found.errors["val"].largest < 0.1


def test_the_table_goes_on_without_a_policy_that_cannot_ask_the_model(capsys: pytest.CaptureFixture[str]) -> None:
    settings = recipe(epochs=2, model=NO_ONNX)
    comparison = compared(task, settings, [Int8(), EveryEpoch()])
    assert [one.policy for one in comparison.outcomes] == ["EveryEpoch"]
    show(comparison)
    assert "Left out: Int8 needs an INT8 copy of StateSpace(" in capsys.readouterr().out
    with pytest.raises(ConflictError, match=NO_COPY):
        compared(task, settings, [Int8()])


def test_conflicts(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [*Int8().conflicts()] == []
    assert "every 0" in next(Int8(every=0).conflicts())
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ConflictError, match=r"Int8 needs onnx; install the extra: .*\[export\]"):
        epochs(validation=Int8())
    assert torch.is_grad_enabled()
