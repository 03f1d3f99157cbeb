"""The range test finds a divergence that is known, leaves everything as it was, and says when it has nothing to suggest."""

from __future__ import annotations

import copy
import math
import random
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.trainables.small import clusters, recipe, task
from trainables import EMA, FP64, SGD, ClipNorm, ConflictError, Constant, CrossEntropy, Minimise, Recipe, Splits, Task
from trainables.fit import fit
from trainables.models import MLP
from trainables.range_curve import Watch, judged, noise, smoothed
from trainables.range_test import RangeFound, RangeTest, range_test
from trainables.seeds import generator

QUICK = RangeTest(steps=70, repeats=3, decay=0.8)


def squared(output: Tensor, target: Tensor) -> Tensor:
    return (output - target).square().mean(dim=1)


@dataclass(frozen=True, kw_only=True, slots=True)
class Scale:
    """One weight w and no more: the output is w x."""

    def build(self) -> nn.Module:
        return nn.Linear(1, 1, bias=False)


def bowl(size: float) -> Task:
    """Inputs of one ``size``, so that the loss is (size w - t)² with curvature L = 2 size²: descent diverges beyond 2 / L."""

    def data(seed: int) -> Splits:  # noqa: ARG001
        noisy = 3.0 + torch.randn(96, 1, generator=generator("bowl"), dtype=torch.float64)
        inputs = torch.full((96, 1), size, dtype=torch.float64)
        return Splits(
            train=(inputs[:64], noisy[:64]), val=(inputs[64:80], noisy[64:80]), test=(inputs[80:], noisy[80:])
        )

    return Task(name="bowl", data=data, goal=Minimise("loss"), loss=squared)


def descent(**changes: Any) -> Recipe:
    settings = {"model": Scale(), "batch_size": 16, "optimizer": SGD(lr=0.1), "precision": FP64(), "epochs": 3}
    return Recipe(**settings | changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [1.0, 30.0])
def test_it_explodes_where_descent_is_known_to_diverge(size: float) -> None:
    """At 2 / L = 1 / size²; the threshold is passed within a few steps of it."""
    found = range_test(bowl(size), descent(), RangeTest(low=1e-7, repeats=6))
    edge = 1 / size**2
    assert all(curve.exploded for curve in found.curves)
    assert all(0.8 * edge < curve.rates[-1] < 5 * edge for curve in found.curves)
    assert found.tenth is not None
    assert found.steepest is not None
    assert edge / 1000 < found.tenth.low <= found.tenth.high < edge / 5
    assert edge / 1000 < found.steepest.low <= found.steepest.high < edge
    assert found.suggested == found.tenth
    assert found.reason is None
    assert "Take " in found.says()
    assert "97 %" in found.says()


def test_the_rate_it_suggests_trains() -> None:
    found = range_test(task, recipe(optimizer=SGD(lr=123.0)), QUICK)
    assert found.suggested is not None
    losses = {}
    for rate in (1e-6, found.suggested.value, 1e3):
        epochs = list(fit(task, recipe(optimizer=SGD(lr=rate), schedule=Constant())))
        losses[rate] = epochs[-1].metrics["train/loss"]
    # The optimizer's own rate plays no part; both far lower and far higher ones are worse.
    assert losses[found.suggested.value] < 0.9 * losses[1e-6]
    assert not losses[1e3] < losses[1e-6]


def test_its_steps_are_the_recipe_s_own() -> None:
    """At a rate that hardly rises, the losses of the first four batches are the first epoch's."""
    settings = recipe(optimizer=SGD(lr=0.05, momentum=0.9), clip=ClipNorm(0.3), micro_batch=5)
    still = RangeTest(low=0.05, high=0.05 * (1 + 1e-9), steps=20, repeats=1)
    (curve,) = range_test(task, settings, still).curves
    first = next(iter(fit(task, settings)))
    taken = [curve.begun, *curve.losses[:3]]
    assert sum(loss * size for loss, size in zip(taken, (16, 16, 16, 13), strict=True)) / 61 == pytest.approx(
        first.metrics["train/loss"], rel=1e-7
    )
    (other,) = range_test(task, replace(settings, clip=None), still).curves
    assert other.begun == curve.begun
    assert abs(other.losses[3] - curve.losses[3]) > 1e-6


def test_everything_is_left_as_it_was() -> None:
    """Model, optimizer, average, history, data, generators: bit for bit, and the run goes on as if nothing had been."""
    settings = recipe(model=MLP(widths=(8,), dropout=0.2), average=EMA(decay=0.9), epochs=3)
    splits = clusters(3)
    undisturbed = [epoch.metrics for epoch in fit(task, settings, splits=splits)]
    epochs = fit(task, settings, splits=splits)
    metrics = [(first := next(epochs)).metrics]
    state = first.run.state()
    before = copy.deepcopy((state, splits.named(), first.run.module.training))
    generators = drawn()
    found = range_test(task, settings, QUICK, splits=splits, state=state)
    assert len({curve.begun for curve in found.curves}) == 3
    assert same(generators, drawn())
    assert same(before, (first.run.state(), splits.named(), first.run.module.training))
    metrics += [epoch.metrics for epoch in epochs]
    assert metrics == undisturbed
    # It did begin from the state: half-trained weights have a lower loss than fresh ones.
    fresh = range_test(task, settings, QUICK, splits=splits)
    assert max(curve.begun for curve in found.curves) < min(curve.begun for curve in fresh.curves)


def drawn() -> tuple[Any, ...]:
    """Where the global generators stand."""
    numbers: Any = np.random.get_state()
    return random.getstate(), numbers[1].tolist(), torch.get_rng_state()


def same(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(same(a, b) for a, b in zip(one, other, strict=True))
    return bool(one == other)


def none_to_give(found: RangeFound) -> str:
    assert found.suggested is None
    assert found.says().startswith("There is no rate to suggest: ")
    return found.says()


def test_a_flat_loss_has_no_suggestion() -> None:
    def idle(output: Tensor, target: Tensor) -> Tensor:
        return (0.0 * output).sum(dim=1) + (target == 0).double()

    assert "the loss is flat" in none_to_give(range_test(task, recipe(loss=idle), QUICK))


def test_a_loss_that_diverges_at_once_has_no_suggestion() -> None:
    settings = RangeTest(low=100.0, high=1e6, steps=40, repeats=3)
    assert "diverges" in none_to_give(range_test(bowl(1.0), descent(), settings))


def test_a_loss_that_is_no_number_has_no_suggestion() -> None:
    def broken(output: Tensor, target: Tensor) -> Tensor:  # noqa: ARG001
        return output.sum(dim=1) * math.nan

    assert "the loss is nan before the first step" in none_to_give(range_test(task, recipe(loss=broken), QUICK))


def test_a_batch_in_which_nothing_counts_is_passed_over() -> None:
    """Seven targets of eight are ignored, and more than half of the batches hold no other."""

    def sparse(seed: int) -> Splits:
        splits = clusters(seed)
        inputs, classes = splits.train
        return replace(splits, train=(inputs, classes.where(torch.arange(len(classes)) % 8 == 0, 9)))

    settings = recipe(loss=CrossEntropy(ignore=9), batch_size=4, optimizer=SGD(lr=1.0))
    found = range_test(replace(task, data=sparse), settings, RangeTest(low=1e-9, high=1e-8, steps=30, repeats=1))
    (curve,) = found.curves
    assert len(curve.losses) == 30
    assert min(curve.begun, *curve.losses) > 0.1


def test_a_loss_that_falls_to_the_end_gives_the_steepest_rate_and_asks_for_higher_ones() -> None:
    found = range_test(bowl(1.0), descent(), RangeTest(low=1e-4, high=0.05, steps=60, repeats=3))
    assert found.tenth is None
    assert found.suggested == found.steepest is not None
    assert "still falls at 5.0e-2, the highest rate; raise high" in found.says()


def test_smoothing_is_debiased_and_does_not_lag() -> None:
    assert smoothed([2.0] * 30, 0.9) == pytest.approx([2.0] * 30)
    line = [float(place) for place in range(41)]
    assert smoothed(line, 0.8)[20] == pytest.approx(20.0)
    assert smoothed([1.0, 5.0], 0.0) == [1.0, 5.0]
    weights = [0.9 ** abs(place - 3) for place in range(12)]
    assert smoothed(line[:12], 0.9)[3] == pytest.approx(
        sum(w * v for w, v in zip(weights, line, strict=False)) / sum(weights)
    )


def test_noise_is_told_from_a_trend() -> None:
    drawn = torch.randn(2000, generator=generator("noise"), dtype=torch.float64)
    falling = (0.3 * drawn - 0.01 * torch.arange(2000)).tolist()
    assert noise(falling) == pytest.approx(0.3, rel=0.1)


def test_places_on_a_planted_curve() -> None:
    """It falls as a logistic curve that is steepest at 1e-3, and rises from 0.1 on."""
    rates = [10 ** (-6 + place / 20) for place in range(120)]
    falls = [2.0 / (1 + (rate / 1e-3) ** 1.5) + 0.3 + 40 * max(0.0, rate - 0.1) for rate in rates]
    curve = judged(seed=0, losses=[2.3, *falls], rates=rates, exploded=True, threshold=3.0, decay=0.0)
    assert curve.steepest is not None
    assert curve.lowest is not None
    assert 0.8e-3 < curve.steepest < 1.25e-3
    assert curve.lowest == pytest.approx(0.1, rel=0.13)
    assert max(curve.smooth) == 3.0
    assert curve.reason is None


def test_noise_alone_does_not_explode() -> None:
    watch = Watch(decay=0.9, explosion=3.0)
    drawn = torch.randn(2000, generator=generator("watch"), dtype=torch.float64)
    assert not any(watch.exploded(1.0 + 0.5 * value) for value in drawn.tolist())
    assert any(watch.exploded(10.0) for _ in range(20))
    assert watch.exploded(math.inf)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (RangeTest(low=1.0, high=0.1), "from 1 to 0.1"),
        (RangeTest(steps=3), "steps 3"),
        (RangeTest(repeats=0), "repeats 0"),
        (RangeTest(decay=1.0), "decay 1.0"),
        (RangeTest(explosion=0.0), "explosion 0.0"),
    ],
    ids=["rates", "steps", "repeats", "decay", "explosion"],
)
def test_wrong_settings_are_named(settings: RangeTest, said: str) -> None:
    with pytest.raises(ConflictError, match=said):
        range_test(task, recipe(), settings)
