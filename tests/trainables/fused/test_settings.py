"""Every setting that each member of a pack has for itself, beside the same runs alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.trainables.fused.alike import (
    COMPUTED,
    RECORDED,
    alone,
    assert_alike,
    assert_pack_alike,
    pack_of,
    program_of,
    started,
    together,
)
from tests.trainables.small import recipe, task
from trainables import (
    EMA,
    FP32,
    SWA,
    AdamW,
    Balanced,
    Chunked,
    ClipNorm,
    Clips,
    ClipValue,
    Constant,
    Cosine,
    CrossEntropy,
    Curriculum,
    DropoutRamp,
    Exponential,
    Focal,
    GradientNoise,
    Holdout,
    KFold,
    LinearScaling,
    Minimise,
    OneCycle,
    OnPlateau,
    Plateau,
    Prefetch,
    Recipe,
    Seeds,
    SquareRootScaling,
    Step,
    Sum,
    Thirds,
)
from trainables.models import CNN, MLP
from trainables.precision import BF16
from trainables.recipe import Model

ranked = replace(task, difficulty=lambda tensors: -tensors[0].norm(dim=1))


@dataclass(frozen=True, slots=True)
class Half:
    """A clip of one's own, which takes the parameters in their order."""

    share: float

    def __call__(self, parameters: Sequence[nn.Parameter]) -> Tensor:
        first = parameters[0].grad
        assert first is not None
        first.mul_(self.share)
        norm: Tensor = first.norm()
        return norm

    def conflicts(self) -> Iterator[str]:
        return iter(())


@dataclass(frozen=True, slots=True)
class Built:
    """A model as a function."""

    make: Callable[[], nn.Module]

    def build(self) -> nn.Module:
        return self.make()


def vector_first() -> nn.Module:
    """Its vector lies before its matrices."""
    return nn.Sequential(nn.LayerNorm(2), nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 3))


def normed() -> nn.Module:
    return nn.Sequential(nn.Linear(2, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))


batch_norm: Model = Built(normed)

MEMBERS: dict[str, list[dict[str, Any]]] = {
    "rate and seed": [{"optimizer": AdamW(lr=0.01 * (k + 1)), "seed": k} for k in range(3)],
    "seeds": [{"seed": Seeds(init=1)}, {"seed": Seeds(order=1)}, {"seed": Seeds(split=1)}],
    "epochs": [{"epochs": 4 + k, "schedule": Cosine(warmup=0.1 * k)} for k in range(3)],
    "schedules": [
        {"schedule": s} for s in (Constant(), Cosine(), OneCycle(), Step(), Exponential(), Cosine(floor=0.1))
    ],
    "reactive": [
        {"schedule": Plateau(patience=0, factor=0.5, min_delta=0.01 * k, goal=[None, Minimise("loss")][k % 2])}
        for k in range(4)
    ],
    "scaling": [{"scaling": s} for s in (None, LinearScaling(8), SquareRootScaling(100))],
    "clip norm": [{"clip": ClipNorm(0.02 * 4**k)} for k in range(3)],
    "clip norm none": [{"clip": ClipNorm(n)} for n in (float("inf"), 0.1)],
    "clip value": [{"clip": ClipValue(0.001 * 4**k)} for k in range(3)],
    "clips": [{"clip": Clips(ClipValue(0.002 * (k + 1)), ClipNorm(0.01 * (k + 1)))} for k in range(3)],
    "clip of one's own": [{"clip": Half(0.1 * k), "model": Built(vector_first)} for k in range(3)],
    "ema": [{"average": EMA(decay=0.8 + 0.05 * k, warmup=k % 2 == 0)} for k in range(3)],
    "ema of statistics": [{"average": EMA(decay=0.5 + 0.1 * k), "model": batch_norm, "seed": k} for k in range(3)],
    "swa": [{"average": SWA(epochs=1 + k), "seed": k} for k in range(3)],
    "swa of statistics": [{"average": SWA(epochs=1 + k), "model": batch_norm, "seed": k} for k in range(3)],
    "statistics": [{"model": batch_norm, "seed": k} for k in range(3)],
    "noise": [{"noise": n, "seed": k} for k, n in enumerate((None, GradientNoise(eta=0.1), GradientNoise(gamma=0.0)))],
    "noise after clip": [{"noise": GradientNoise(eta=0.1), "clip": ClipNorm(0.1), "model": Built(vector_first)}] * 2,
    "smoothing": [{"loss": CrossEntropy(smoothing=0.1 * k)} for k in range(3)],
    "smoothed and weighted": [
        {"loss": CrossEntropy(smoothing=0.1 * k, class_weights=(1.0, 0.2, 3.0), ignore=1), "seed": k} for k in range(3)
    ],
    "class weights": [{"loss": CrossEntropy(class_weights=(1.0, 0.2, 3.0)), "seed": k} for k in range(2)],
    "ignored": [{"loss": CrossEntropy(ignore=2), "seed": k} for k in range(2)],
    "focal": [{"loss": Focal(gamma=0.7 * k)} for k in range(4)],
    "focal alpha": [{"loss": Focal(gamma=0.7 * k, alpha=(0.2, 0.5, 1.0))} for k in range(3)],
    "sum": [{"loss": Sum(CrossEntropy(smoothing=0.1), Focal(), 0.5), "seed": k} for k in range(2)],
    "torch's loss": [{"loss": nn.functional.cross_entropy, "seed": k} for k in range(2)],
    "torch's module": [{"loss": nn.CrossEntropyLoss(reduction="none"), "seed": k} for k in range(2)],
    "one's own loss": [{"loss": lambda output, target: nn.functional.cross_entropy(output, target) ** 2}] * 2,
    "folds": [{"split": KFold(folds=3, fold=0), "seed": k} for k in range(3)],
    "seeds' folds": [{"split": KFold(folds=3), "seed": k} for k in (0, 3, 6)],
    "holdout": [{"split": Holdout(val=0.3), "seed": k} for k in range(2)],
    "curriculum": [{"curriculum": c, "seed": 3} for c in (None, Curriculum(), Curriculum(start=0.6, full=1.0))],
    "sampling": [{"sampling": s} for s in (None, Balanced(), Chunked(chunk=8, pieces=4))],
    "validation": [{"validation": v, "epochs": 6} for v in (Thirds(), OnPlateau(patience=1, every=2), Thirds(early=5))],
    "ramp of no dropout": [
        {"dropout": DropoutRamp(start=0.0, end=0.0), "model": MLP(widths=(8,), dropout=0.5)},
        {"model": MLP(widths=(8,), dropout=0.0)},
    ],
    "prefetch": [{"prefetch": None}, {"prefetch": Prefetch()}],
    "frozen": [{"model": MLP(widths=(8, 8)), "freeze": ("blocks.0.*",), "seed": k} for k in range(2)],
    "frozen and averaged": [
        {"model": batch_norm, "freeze": ("1.*",), "average": EMA(decay=0.6 + 0.1 * k), "seed": k} for k in range(2)
    ],
    "frozen and swa": [
        {"model": batch_norm, "freeze": ("1.*",), "average": SWA(epochs=2), "seed": k} for k in range(2)
    ],
    "deterministic": [{"deterministic": True, "model": MLP(widths=(8,), norm=True), "seed": k} for k in range(2)],
    "one batch": [{"batch_size": 1000, "seed": k} for k in range(2)],
    "single samples": [{"batch_size": 12, "seed": k} for k in range(2)],  # five full batches, and one sample
    "a member alone": [{"optimizer": AdamW(), "average": EMA(decay=0.9), "clip": ClipNorm(0.1)}],
}


PLAYED = (
    *("smoothed and weighted", "class weights", "ignored", "focal", "sum", "frozen", "deterministic"),
    *("statistics", "ema of statistics", "swa of statistics", "frozen and averaged", "frozen and swa"),
)
"""Those that a recording has something of; it costs more than the steps do here."""


@pytest.mark.parametrize(
    ("name", "recorded_from"), [*((name, COMPUTED) for name in MEMBERS), *((name, RECORDED) for name in PLAYED)]
)
def test_members_are_what_they_are_alone(name: str, recorded_from: int) -> None:
    members = [recipe(**changes) for changes in MEMBERS[name]]
    assert_pack_alike(ranked, members, recorded_from=recorded_from)
    if len(members) > 1 and len(set(map(repr, members))) > 1:
        first, last = together(ranked, members, 2)[0], alone(ranked, members[-1], 2)
        assert any(not torch.equal(a, b) for a, b in zip(first.parameters, last.parameters, strict=True)) or name in (
            "validation",
            "prefetch",
            "ramp of no dropout",
            "epochs",
        )


@pytest.mark.parametrize("recorded_from", [RECORDED, COMPUTED], ids=["recorded", "computed"])
def test_all_at_once(recorded_from: int) -> None:
    """Settings do not get into each other's way."""
    members = [
        recipe(
            model=MLP(widths=(8,), norm=True, dropout=0.0),
            optimizer=AdamW(lr=0.01 * (k + 1), weight_decay=0.1 * (k + 1), betas=(0.8, 0.9 + 0.01 * k)),
            schedule=[Plateau(patience=0), Cosine(warmup=0.2), OneCycle()][k],
            scaling=LinearScaling(8 * (k + 1)),
            average=EMA(decay=0.7 + 0.1 * k),
            clip=ClipNorm(0.1 * (k + 1)),
            noise=[None, GradientNoise(), GradientNoise(eta=0.1)][k],
            loss=CrossEntropy(smoothing=0.1 * k),
            split=Holdout(val=0.3),
            curriculum=[None, Curriculum(), None][k],
            validation=[Thirds(), OnPlateau(), Thirds(late=2)][k],
            epochs=5 + k,
            seed=k,
        )
        for k in range(3)
    ]
    assert_pack_alike(ranked, members, recorded_from=recorded_from)


def test_what_is_recorded_is_played_back() -> None:
    """A recording for each shape of batches, by which the next epoch is computed."""
    member = recipe(model=MLP(widths=(8,)))
    runs = [started(task, member), started(task, replace(member, seed=4))]
    program = program_of(runs[0], RECORDED)
    pack = pack_of(runs, program)
    pack.epoch()
    pack.epoch()

    def computed(*_: Tensor) -> tuple[Tensor, Tensor]:
        pytest.fail("computed, not played back")

    for key in program._calls:
        program._calls[key] = computed
    pack.epoch()
    assert_alike(runs[0], alone(task, member, 3))


@pytest.mark.parametrize(
    "model", [MLP(widths=(8,)), CNN(image=(1, 2, 1), channels=(4,)), CNN(image=(1, 2, 1), norm="none")]
)
@pytest.mark.parametrize(("precision", "near"), [(FP32(), 1e-4), (BF16(), 0.05)], ids=["single", "mixed"])
def test_other_precisions_are_near(model: Model, precision: Any, near: float) -> None:
    members = [recipe(model=model, precision=precision, seed=k, optimizer=AdamW(lr=0.01), epochs=2) for k in range(2)]
    for run, wanted in zip(together(task, members), [alone(task, member) for member in members], strict=True):
        for mine, its in zip(run.history, wanted.history, strict=True):
            assert mine["train/loss"] == pytest.approx(its["train/loss"], rel=near)
            assert mine["val/loss"] == pytest.approx(its["val/loss"], rel=near)


def test_a_recipe_s_rates_and_history_are_told_as_alone() -> None:
    members: list[Recipe] = [
        recipe(model=MLP(dropout=0.3), dropout=DropoutRamp(start=0.0, end=0.6)),
        recipe(model=MLP(dropout=0.1)),
    ]
    for run, member in zip(together(task, members, 3), members, strict=True):
        told = [{name: row.get(name) for name in ("epoch", "step", "samples", "lr", "dropout")} for row in run.history]
        assert told == [
            {name: row.get(name) for name in ("epoch", "step", "samples", "lr", "dropout")}
            for row in alone(task, member, 3).history
        ]
