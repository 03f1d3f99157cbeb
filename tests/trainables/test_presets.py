"""Presets: each one trains, for every architecture, and says what it is for in what it does."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, get_args

import pytest
import torch
from torch import nn

from trainables import ConflictError
from trainables.fit import fit
from trainables.micro_batch import Auto
from trainables.models import CNN, GRU, LSTM, MLP, TCN, MultiPlasticity, ResidualMLP, StateSpace, Transformer
from trainables.presets import Purpose, preset
from trainables.recipe import Model
from trainables.tasks import digits


@dataclass(frozen=True, kw_only=True, slots=True)
class Own:
    """A model that presets have never heard of."""

    def build(self) -> nn.Module:
        return nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))


MODELS: tuple[Model, ...] = (
    MLP(widths=(32,)),
    ResidualMLP(width=32, depth=1),
    CNN(channels=(8, 16)),
    LSTM(width=16, steps=8),
    GRU(width=16, steps=8),
    TCN(width=16, depth=2, steps=8),
    Transformer(width=16, depth=1, heads=2, steps=8),
    StateSpace(width=16, depth=1, steps=8),
    MultiPlasticity(width=12, steps=8),
    Own(),
)
PURPOSES: tuple[Purpose, ...] = get_args(Purpose)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: type(model).__name__)
@pytest.mark.parametrize("purpose", PURPOSES)
def test_it_trains(purpose: Purpose, model: Model) -> None:
    """Eight epochs on a CPU learn something; the recipe for a GPU is free of conflicts."""
    recipe = preset(purpose, model)
    *_, epoch = fit(digits, replace(recipe, epochs=min(recipe.epochs, 8)))
    assert epoch.metrics["val/accuracy"] > 0.35
    assert epoch.metrics["train/loss"] < 2.2
    preset(purpose, model, device="cuda").check()


def held(purpose: Purpose) -> dict[str, Any]:
    """What the optimizer keeps, and how many samples are held at a time."""
    run = next(iter(fit(digits, preset(purpose, MLP(widths=(64, 64)))))).run
    states = sum(
        value.numel()
        for state in run.optimizer.state.values()
        for value in state.values()
        if isinstance(value, torch.Tensor) and value.ndim
    )
    return {"states": states, "samples": run.micro_batch, "recompute": run.recipe.recompute}


def test_memory_holds_less_than_best() -> None:
    memory, best = held("memory"), held("best")
    assert memory["states"] <= 0.5 * best["states"]
    assert memory["samples"] < best["samples"]
    assert memory["recompute"]
    assert isinstance(preset("memory", Own()).micro_batch, Auto)
    assert preset("memory", Own()).recompute == ()


def test_speed_takes_fewer_steps_than_the_others() -> None:
    steps = {purpose: next(iter(fit(digits, preset(purpose, MLP(widths=(8,)))))).run.plan.steps for purpose in PURPOSES}
    assert steps["speed"] < steps["quick"] < steps["memory"] < steps["best"]


def test_an_unknown_purpose_is_refused() -> None:
    with pytest.raises(ConflictError, match="purpose 'fast' is none of quick, best, memory, speed"):
        preset("fast", MLP())  # type: ignore[arg-type]
