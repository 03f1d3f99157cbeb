"""The loop: exactness, order, what it reports."""

from __future__ import annotations

import io
import math
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from tests.trainables.small import recipe, task
from trainables import (
    BF16,
    EMA,
    FP32,
    SGD,
    AdamW,
    ClipNorm,
    ConflictError,
    Cosine,
    CrossEntropy,
    Maximise,
    MeanSquaredError,
    Minimise,
    Recipe,
    Seeds,
    Splits,
    Task,
    absolute_error,
)
from trainables.batches import shuffled
from trainables.fit import Epoch, fit
from trainables.models import MLP
from trainables.seeds import generator


def trace(settings: Recipe, name: str = "train/loss") -> list[float]:
    return [epoch.metrics[name] for epoch in fit(task, settings)]


def weights(settings: Recipe) -> torch.Tensor:
    epoch = last(settings)
    return torch.cat([parameter.detach().flatten() for parameter in epoch.run.deployed.parameters()])


def last(settings: Recipe, on: Task = task) -> Epoch:
    *_, epoch = fit(on, settings)
    return epoch


def test_it_is_a_plain_loop() -> None:
    """The same steps written by hand with torch's own parts give the same weights."""
    settings = recipe()
    epoch = last(settings)
    splits = task.data(3)
    run = next(iter(fit(task, replace(settings, epochs=1)))).run
    by_hand = type(run).start(task, settings, splits=None, device=torch.device("cpu")).module
    optimizer = torch.optim.SGD(by_hand.parameters(), lr=0.1, momentum=0.9)
    for number in range(1, settings.epochs + 1):
        train = tuple(t.double() if t.is_floating_point() else t for t in splits.train)
        for x, y in shuffled(train, 16, generator(3, number)):
            optimizer.zero_grad()
            functional.cross_entropy(by_hand(x), y).backward()
            optimizer.step()
    for mine, theirs in zip(epoch.run.module.parameters(), by_hand.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-12)


@pytest.mark.parametrize("micro", [1, 3, 5, 16])
@pytest.mark.parametrize("batch", [16, 61, 7])
@pytest.mark.parametrize("extra", [{}, {"clip": ClipNorm(0.1)}, {"average": EMA(decay=0.9)}])
def test_accumulation_is_exact(micro: int, batch: int, extra: dict[str, Any]) -> None:
    """Micro-batches of any size, with uneven last batches and micro-batches, give the gradient of the whole batch."""
    whole = recipe(batch_size=batch, **extra)
    parts = recipe(batch_size=batch, micro_batch=min(micro, batch), **extra)
    assert trace(parts) == pytest.approx(trace(whole), rel=1e-11)
    torch.testing.assert_close(weights(parts), weights(whole), rtol=0, atol=1e-11)


def test_losses_by_sample_and_by_mean_are_the_same() -> None:
    def by_sample(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return functional.cross_entropy(output, target, reduction="none")

    assert trace(recipe(loss=by_sample, micro_batch=5)) == pytest.approx(trace(recipe()), rel=1e-11)


def test_the_schedule_sets_every_step() -> None:
    """The lr seen by the optimizer is the peak times the schedule in the middle of each step."""
    schedule = Cosine(warmup=0.25, floor=0.1)
    epochs = list(fit(task, recipe(schedule=schedule)))
    steps = epochs[-1].step
    assert steps == 16
    for epoch in epochs:
        assert epoch.lr == pytest.approx(0.1 * schedule((epoch.step - 0.5) / steps), rel=1e-12)
        assert epoch.run.optimizer.param_groups[0]["lr"] == epochs[-1].lr or epoch is not epochs[-1]


def test_clipping_limits_the_norm_and_reports_it() -> None:
    free, clipped = last(recipe(clip=ClipNorm(1e9))), last(recipe(clip=ClipNorm(1e-4)))
    assert free.metrics["train/grad_norm"] > 0.01
    start = torch.cat([p.detach().flatten() for p in next(iter(fit(task, recipe(epochs=1)))).run.module.parameters()])
    moved = torch.cat([p.detach().flatten() for p in clipped.run.module.parameters()])
    assert torch.linalg.norm(moved - start) < 1.0
    assert trace(recipe(clip=ClipNorm(1e9))) == trace(recipe())


def test_the_average_is_validated_and_the_raw_weights_beside_it() -> None:
    epoch = last(recipe(average=EMA(decay=0.99)))
    assert epoch.metrics["val/loss"] != epoch.metrics["val/loss_raw"]
    assert epoch.metrics["val/loss_raw"] == pytest.approx(last(recipe()).metrics["val/loss"], rel=1e-12)
    assert {"val/accuracy", "val/accuracy_raw"} <= epoch.metrics.keys()


def test_test_is_measured_only_where_validation_improved() -> None:
    best = -math.inf
    for epoch in fit(task, recipe(epochs=12)):
        improved = epoch.metrics["val/accuracy"] > best
        best = max(best, epoch.metrics["val/accuracy"])
        assert epoch.improved == improved
        assert ("test/accuracy" in epoch.metrics) == improved


def test_a_run_that_is_not_tested_never_looks_at_the_test_set() -> None:
    splits = task.load(0)
    unfit = replace(splits, test=tuple(torch.zeros(3, 1, 1) for _ in splits.test))  # no module takes it
    with pytest.raises(RuntimeError):
        list(fit(task, recipe(epochs=2), splits=unfit))
    untested = [dict(epoch.metrics) for epoch in fit(task, recipe(epochs=4), splits=unfit, tested=False)]
    tested = [dict(epoch.metrics) for epoch in fit(task, recipe(epochs=4), splits=splits)]
    assert untested == [{k: v for k, v in metrics.items() if not k.startswith("test/")} for metrics in tested]
    assert untested != tested


def test_training_history_does_not_depend_on_what_the_user_does_with_torch_s_generator() -> None:
    before = trace(recipe())
    values = []
    for epoch in fit(task, recipe()):
        torch.rand(17)
        values.append(epoch.metrics["train/loss"])
    assert values == before
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    trace(recipe())
    assert torch.equal(torch.rand(1), expected)


class Noisy(nn.Module):
    """Dropout: draws from torch's global generator."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(2, 32), nn.ReLU(), nn.Dropout(0.5), nn.BatchNorm1d(32), nn.Linear(32, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.layers(x)
        return out


class NoisyPart:
    """A model of the user's own."""

    def build(self) -> nn.Module:
        return Noisy()


@pytest.mark.parametrize("average", [None, EMA(decay=0.9)])
@pytest.mark.parametrize("stop_after", [1, 3])
def test_a_resumed_run_is_bit_for_bit_the_uninterrupted_one(average: EMA | None, stop_after: int) -> None:
    settings = recipe(
        model=NoisyPart(),
        average=average,
        optimizer=AdamW(lr=3e-3),
        schedule=Cosine(warmup=0.2),
        precision=FP32(),
        micro_batch=5,
    )
    whole = list(fit(task, settings))
    state = None
    for epoch in fit(task, settings):
        if epoch.epoch == stop_after:
            buffer = io.BytesIO()
            torch.save(epoch.run.state(), buffer)
            buffer.seek(0)
            state = torch.load(buffer, weights_only=True)
            break
    resumed = list(fit(task, settings, state=state))
    assert [e.epoch for e in resumed] == [e.epoch for e in whole[stop_after:]]
    for mine, theirs in zip(resumed, whole[stop_after:], strict=True):
        assert mine.metrics == theirs.metrics
        assert (mine.step, mine.samples, mine.lr) == (theirs.step, theirs.samples, theirs.lr)
    for mine_p, theirs_p in zip(
        resumed[-1].run.deployed.state_dict().values(), whole[-1].run.deployed.state_dict().values(), strict=True
    ):
        assert torch.equal(mine_p, theirs_p)
    assert [row["epoch"] for row in resumed[-1].run.history] == [1, 2, 3, 4]


@pytest.mark.parametrize("name", ["init", "order", "split"])
def test_each_seed_governs_its_own_part(name: str) -> None:
    same, other = Seeds(), Seeds(**{name: 1})
    assert trace(recipe(seed=same)) == trace(recipe(seed=Seeds()))
    assert trace(recipe(seed=same)) != trace(recipe(seed=other))
    first, second = (next(iter(fit(task, recipe(seed=seed, optimizer=SGD(lr=1e-30))))) for seed in (same, other))
    assert (first.metrics["val/loss"] == second.metrics["val/loss"]) == (name == "order")


def test_bf16_computes_in_bf16_and_keeps_parameters_in_single() -> None:
    seen = []

    def spying(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        seen.append(output.dtype)
        return functional.cross_entropy(output, target)

    epoch = last(recipe(precision=BF16(), loss=spying))
    assert set(seen) == {torch.bfloat16}
    assert {p.dtype for p in epoch.run.module.parameters()} == {torch.float32}
    single = last(recipe(precision=FP32()))
    assert epoch.metrics["train/loss"] == pytest.approx(single.metrics["train/loss"], rel=0.05)


def test_regression_learns() -> None:
    def line(seed: int) -> Splits:
        x = torch.linspace(-1, 1, 90)[torch.randperm(90, generator=generator(seed))].unsqueeze(1)
        y = 3 * x[:, 0] + 1
        return Splits(train=(x[:60], y[:60]), val=(x[60:75], y[60:75]), test=(x[75:], y[75:]))

    lines = Task(name="line", data=line, loss=MeanSquaredError(), metrics={"mae": absolute_error}, goal=Minimise("mae"))
    epoch = last(recipe(model=MLP(widths=()), epochs=30, precision=FP32()), lines)
    assert epoch.metrics["val/mae"] < 0.05


def test_all_conflicts_are_said_at_once_before_the_first_step() -> None:
    wrong = recipe(batch_size=0, epochs=0, optimizer=AdamW(lr=-1), average=EMA(decay=2.0), clip=ClipNorm(0.0))
    with pytest.raises(ConflictError) as caught:
        next(iter(fit(replace(task, goal=Maximise("recall")), wrong)))
    text = str(caught.value)
    for part in ("batch_size 0", "epochs 0", "lr -1", "decay 2.0", "ClipNorm 0.0", "'recall'", "accuracy, loss"):
        assert part in text
    assert len(caught.value.conflicts) == 6


def test_costs_add_up() -> None:
    rows = last(recipe()).run.history
    for before, row in pairwise(rows):
        assert row["seconds"] > before["seconds"]
        assert row["cpu_seconds"] >= before["cpu_seconds"]
        assert row["wall_seconds"] > row["seconds"] > 0
    assert [row["samples"] for row in rows] == [61, 122, 183, 244]
    assert [row["step"] for row in rows] == [4, 8, 12, 16]


def test_things_that_are_no_parts_are_conflicts_not_tracebacks() -> None:
    class Nothing:
        def build(self) -> None:
            return None

    wrong = recipe(optimizer="adamw", clip=1.0, schedule=Cosine(warmup="a bit"), model=3)  # type: ignore[arg-type]
    text = "\n".join(wrong.conflicts())
    for said in (
        "optimizer 'adamw' is a str, not a part that fits there; write one, such as optimizer=AdamW(lr=1e-3)",
        "clip 1.0 is a float, not a part that fits there; write one, such as clip=ClipNorm(1.0)",
        "schedule.warmup 'a bit' must be a number; write warmup=0.0",
        "model 3 has no build()",
    ):
        assert said in text
    text = "\n".join(
        recipe(batch_size="32", optimizer=AdamW(lr="0.1"), average=Cosine(), loss=CrossEntropy).conflicts()
    )  # type: ignore[arg-type]
    assert text.splitlines() == [
        "batch_size '32' must be a whole number from 1; 64 is a usual start",
        "loss is the class CrossEntropy, which has no settings yet; write loss=CrossEntropy()",
        "average Cosine is a Cosine, not a part that fits there; write one, such as average=EMA(decay=0.99)",
        "optimizer.lr '0.1' must be a number; write lr=0.1",
    ]
    with pytest.raises(ConflictError, match=r"Nothing\.build\(\) returned NoneType"):
        next(iter(fit(task, recipe(model=Nothing()))))
