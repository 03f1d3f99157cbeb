"""Whole runs of every architecture, all that each member may have for itself drawn, beside the same runs alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.trainables.fused.alike import COMPUTED, RECORDED, assert_pack_alike, pack_of, program_of, started
from trainables import (
    EMA,
    FP64,
    SWA,
    Balanced,
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
    Maximise,
    OneCycle,
    OnPlateau,
    Plateau,
    Recipe,
    Seeds,
    Splits,
    SquareRootScaling,
    Step,
    Thirds,
    accuracy,
)
from trainables import models as architectures
from trainables.models import CNN, GRU, LSTM, MLP, TCN, MultiPlasticity, ResidualMLP, StateSpace, Transformer
from trainables.optimizers import LAMB, SGD, Adam, AdamW, RAdam, RMSprop
from trainables.recipe import Model
from trainables.seeds import generator
from trainables.splitting import random
from trainables.task import Task


def waves(seed: int) -> Splits:
    """45 series of 4 steps of 2 numbers, of which 27 are learned from."""
    drawn = torch.randn(45, 4, 2, generator=generator("waves"), dtype=torch.float64)
    return random(drawn, drawn[:, :, 0].argmax(1), seed=seed)


def far(tensors: tuple[Tensor, ...]) -> Tensor:
    return -tensors[0].flatten(1).square().sum(1)


task = Task(name="waves", data=waves, metrics={"accuracy": accuracy}, goal=Maximise("accuracy"), difficulty=far)

MODELS: dict[str, Model] = {
    "mlp": MLP(widths=(5, 4), norm=True, activation="gelu", dropout=0.0),
    "linear": MLP(widths=()),
    "residual": ResidualMLP(width=4, depth=1, activation="elu"),
    "cnn batch": CNN(channels=(3, 4), image=(2, 2, 2), activation="silu"),
    "cnn group": CNN(channels=(4,), image=(1, 4, 2), norm="group", groups=2),
    "cnn none": CNN(channels=(3,), image=(1, 2, 4), norm="none", activation="tanh"),
    "gru": GRU(width=3, depth=2),
    "lstm": LSTM(width=3, pool="mean"),
    "tcn": TCN(width=3, depth=2, kernel=2),
    "plastic": MultiPlasticity(width=3, time_constants=(2.0, 4.0)),
    "state space": StateSpace(width=3, depth=1, states=2),
    "transformer": Transformer(width=4, depth=1, heads=2, expansion=2, causal=True),
    "sinusoidal": Transformer(width=4, depth=1, heads=2, expansion=2, positions="sinusoidal"),
}

RATES = st.sampled_from([0.003, 0.01, 0.05])
DECAY = st.sampled_from([0.01, 0.1])
BETAS = st.tuples(st.sampled_from([0.0, 0.8, 0.9]), st.sampled_from([0.9, 0.999]))
FLAG = st.booleans()


def optimizers() -> st.SearchStrategy[st.SearchStrategy[Any]]:
    """A kind of optimizer, of which each member has settings of its own."""
    moments = {"lr": RATES, "betas": BETAS}
    return st.sampled_from(
        [
            st.builds(AdamW, **moments, weight_decay=DECAY),
            st.builds(Adam, **moments),
            st.builds(RAdam, **moments, weight_decay=DECAY),
            st.builds(LAMB, **moments, weight_decay=DECAY, decay_vectors=st.just(value=True)),
            st.builds(RMSprop, lr=RATES, alpha=st.sampled_from([0.8, 0.95]), centered=st.just(value=True)),
            st.builds(
                SGD, lr=RATES, momentum=st.sampled_from([0.5, 0.9]), nesterov=st.just(value=True), weight_decay=DECAY
            ),
        ]
    )


def kinds() -> st.SearchStrategy[dict[str, st.SearchStrategy[Any]]]:
    """What all members have in common, each time another strategy for what they have not."""
    emas = st.builds(EMA, decay=st.sampled_from([0.5, 0.9]), warmup=FLAG)
    norms = st.builds(ClipNorm, st.sampled_from([0.05, 1.0]))
    values = st.builds(ClipValue, st.sampled_from([0.005, 0.1]))
    nothing = st.none()
    return st.fixed_dictionaries(
        {
            "optimizer": optimizers(),
            "average": st.sampled_from([nothing, emas, st.builds(SWA, epochs=st.integers(1, 3))]),
            "clip": st.sampled_from([nothing, norms, values, st.builds(Clips, values, norms)]),
            "loss": st.sampled_from(
                [
                    st.builds(CrossEntropy, smoothing=st.sampled_from([0.0, 0.1, 0.3])),
                    st.builds(
                        CrossEntropy, smoothing=st.sampled_from([0.0, 0.2]), class_weights=st.just((1.0, 2.0, 0.5, 1.0))
                    ),
                    st.builds(Focal, gamma=st.sampled_from([0.0, 0.5, 2.0])),
                ]
            ),
            "split": st.sampled_from([nothing, st.just(Holdout(val=0.4)), st.just(KFold(folds=3))]),
        }
    )


def own() -> st.SearchStrategy[dict[str, Any]]:
    """What each member has for itself whatever the others have."""
    schedules = (
        st.builds(Cosine, warmup=st.sampled_from([0.0, 0.3])),
        st.builds(Plateau, patience=st.just(0), factor=st.sampled_from([0.1, 0.5])),
        *(st.just(schedule) for schedule in (Constant(), OneCycle(), Step(), Exponential())),
    )
    return st.fixed_dictionaries(
        {
            "schedule": st.one_of(schedules),
            "scaling": st.sampled_from([None, LinearScaling(8), SquareRootScaling(32)]),
            "noise": st.sampled_from([None, GradientNoise(), GradientNoise(eta=0.1, gamma=0.3)]),
            "validation": st.sampled_from([Thirds(), OnPlateau(patience=1, every=2), Thirds(early=1)]),
            "epochs": st.integers(2, 4),
            "seed": st.builds(Seeds, init=st.integers(0, 9), order=st.integers(0, 9), split=st.integers(0, 9)),
        }
    )


def data() -> st.SearchStrategy[dict[str, Any]]:
    """Which samples an epoch has."""
    return st.sampled_from([{}, {"curriculum": Curriculum()}, {"sampling": Balanced()}])


@st.composite
def members(draw: st.DrawFn, model: Model) -> list[Recipe]:
    """Two or three recipes of one structure."""
    common = draw(kinds())
    base = Recipe(model=model, batch_size=8, precision=FP64())
    drawn = [
        replace(base, **{name: draw(kind) for name, kind in common.items()}, **draw(own()), **draw(data()))
        for _ in range(draw(st.integers(2, 3)))
    ]
    ramps = model == MODELS["mlp"]
    return [
        replace(one, dropout=draw(st.sampled_from([None, DropoutRamp(start=0.0)])) if ramps else None) for one in drawn
    ]


def test_no_architecture_is_left_out() -> None:
    known = {
        getattr(architectures, name) for name in architectures.__all__ if isinstance(getattr(architectures, name), type)
    }
    assert {type(model) for model in MODELS.values()} == known


@pytest.mark.parametrize("name", MODELS)
@settings(
    max_examples=3,
    derandomize=True,
    deadline=None,
    phases=[Phase.generate],  # whole runs are too long to be made smaller
    suppress_health_check=list(HealthCheck),
)
@given(st.data())
def test_members_are_what_they_are_alone(name: str, drawn: st.DataObject) -> None:
    assert_pack_alike(task, drawn.draw(members(MODELS[name])), epochs=2)


@pytest.mark.parametrize("name", MODELS)
def test_a_step_that_is_played_back_is_a_step(name: str) -> None:
    base = Recipe(model=MODELS[name], batch_size=6, precision=FP64())
    own = [replace(base, seed=seed, optimizer=AdamW(lr=0.01 * (seed + 1))) for seed in range(2)]
    assert program_of(started(task, base)).steady
    assert_pack_alike(task, own, epochs=1, recorded_from=RECORDED)


@pytest.mark.parametrize("rate", [0.0, 0.3])
@pytest.mark.parametrize("name", MODELS)
def test_all_that_is_recorded_is_played_without_python(name: str, rate: float) -> None:
    """What torch's interpreter cannot take is played as well, and takes twice as long: nobody would see it."""
    model = MODELS[name]
    if rate and not hasattr(model, "dropout"):
        return
    own = Recipe(model=replace(model, **({"dropout": rate} if rate else {})), batch_size=6, precision=FP64())  # type: ignore[type-var]
    runs = [started(task, replace(own, seed=seed)) for seed in range(2)]
    program = program_of(runs[0], RECORDED)
    pack = pack_of(runs, program)
    for _ in range(2):
        pack.epoch()
    played = [type(recording._own).__name__ for recording in program._recordings.values() if recording is not None]
    assert len(played) == len(program._recordings) >= 2
    assert set(played) == {"ScriptFunction" if runs[0].device.type == "cpu" else "Graphed"}


@pytest.mark.parametrize("recorded_from", [RECORDED, COMPUTED], ids=["recorded", "computed"])
@pytest.mark.parametrize("name", MODELS)
def test_members_with_one_order_are_what_they_are_alone(name: str, recorded_from: int) -> None:
    """They are given one batch in common, of the same tensors."""
    at_hand = waves(0)
    base = Recipe(model=MODELS[name], batch_size=6, precision=FP64())
    own = [replace(base, optimizer=AdamW(lr=rate)) for rate in (0.01, 0.02)]
    assert_pack_alike(replace(task, data=lambda _: at_hand), own, epochs=2, recorded_from=recorded_from)
