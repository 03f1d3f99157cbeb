"""Which runs are told apart, and which are refused before anything is computed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import pytest
from torch import nn

from tests.trainables.fused.alike import started
from tests.trainables.fused.test_marks import BY_RATE, SAME_BY_RATE, Attending, Built, scripted, with_hook
from tests.trainables.small import clusters, recipe, task
from trainables import (
    EMA,
    FP16,
    FP32,
    SWA,
    Adam,
    AdamW,
    Auto,
    Balanced,
    ClipNorm,
    Clips,
    ClipValue,
    Compile,
    Cosine,
    CrossEntropy,
    Curriculum,
    DropoutRamp,
    EarlyStopping,
    Focal,
    GradientNoise,
    Int8,
    KFold,
    LinearScaling,
    MeanSquaredError,
    Noise,
    OnPlateau,
    PerWorker,
    Prefetch,
    PureBF16,
    Recipe,
    Sampled,
    Seeds,
    Splits,
    Task,
    Thirds,
    WithinEpoch,
    accuracy,
)
from trainables.averages.ema import Exponential
from trainables.fused.built import differences, shapes, unfit_run
from trainables.fused.structure import structure, unfit
from trainables.models import GRU, MLP, ResidualMLP
from trainables.optimizers import LAMB, SGD, RAdam, RMSprop

base = recipe(model=MLP(widths=(8,), dropout=0.1), optimizer=AdamW(weight_decay=0.1))

TOGETHER: dict[str, Any] = {
    "model": MLP(widths=(8,), dropout=0.7),
    "epochs": 7,
    "optimizer": AdamW(lr=0.3, betas=(0.5, 0.6), eps=1e-3, weight_decay=0.2),
    "schedule": Cosine(),
    "scaling": LinearScaling(reference=8),
    "noise": GradientNoise(),
    "dropout": DropoutRamp(),
    "curriculum": Curriculum(),
    "sampling": Balanced(),
    "split": KFold(folds=4, fold=1),
    "prefetch": Prefetch(),
    "validation": Thirds(),
    "stop": EarlyStopping(),
    "seed": Seeds(init=1, order=2, split=3),
    "loss": CrossEntropy(smoothing=0.2),
}

APART: dict[str, Sequence[Any]] = {
    "model": (
        MLP(widths=(9,), dropout=0.1),
        MLP(widths=(8, 8), dropout=0.1),
        MLP(widths=(8,)),
        MLP(widths=(8,), dropout=0.1, activation="gelu"),
        ResidualMLP(width=8),
        GRU(width=8),
    ),
    "batch_size": (8, PerWorker(16)),
    "optimizer": (
        AdamW(weight_decay=0.0),
        AdamW(weight_decay=0.1, decay_vectors=True),
        Adam(weight_decay=0.1),
        SGD(),
        SGD(momentum=0.9),
        SGD(momentum=0.9, nesterov=True),
        RMSprop(),
        RMSprop(centered=True),
        RAdam(),
        RAdam(decoupled=False),
        LAMB(),
    ),
    "loss": (CrossEntropy(ignore=1), CrossEntropy(class_weights=(1.0, 2.0, 1.0)), Focal(), MeanSquaredError()),
    "average": (EMA(), SWA()),
    "clip": (ClipNorm(1.0), ClipValue(1.0), Clips(ClipNorm(1.0), ClipValue(1.0)), Clips(ClipValue(1.0), ClipNorm(1.0))),
    "precision": (FP32(),),
    "freeze": (("head.*",), ("blocks.*",)),
    "deterministic": (True,),
}

REFUSED: dict[str, Any] = {
    "micro_batch": Auto(),
    "augment": Noise(std=0.1),
    "compile": Compile(),
    "recompute": ("blocks.*",),
    "hooks": (lambda epochs: epochs,),
}


def test_every_field_of_a_recipe_is_had_in_common_or_each_member_s_own_or_refused() -> None:
    assert TOGETHER.keys() | APART.keys() | REFUSED.keys() == {field.name for field in fields(Recipe)}


@pytest.mark.parametrize("name", TOGETHER)
def test_what_each_member_has_for_itself(name: str) -> None:
    other = replace(base, **{name: TOGETHER[name]})
    assert structure(task, other) == structure(task, base)
    assert not list(unfit(other))


def test_what_members_must_have_in_common() -> None:
    found = {structure(task, base): "base"}
    for name, values in APART.items():
        for value in values:
            other = replace(base, **{name: value})
            told = structure(task, other)
            assert told not in found, f"{name}={value} is like {found[told]}"
            found[told] = f"{name}={value}"
            assert not list(unfit(other))
    other_task = replace(task, metrics={"accuracy": lambda output, target: accuracy(output, target) / 2})
    assert list(differences([started(task, base), started(other_task, base)]))
    assert structure(replace(task, name="other"), base) not in found


def test_settings_of_the_parts_that_are_each_member_s_own() -> None:
    for one, two in (
        ({"average": EMA(decay=0.9)}, {"average": EMA(decay=0.99, warmup=False)}),
        ({"average": SWA(epochs=1)}, {"average": SWA(epochs=2)}),
        ({"clip": Clips(ClipValue(1.0), ClipNorm(1.0))}, {"clip": Clips(ClipValue(2.0), ClipNorm(3.0))}),
        ({"loss": Focal(gamma=0.0)}, {"loss": Focal(gamma=3.0)}),
        ({"optimizer": SGD(momentum=0.1)}, {"optimizer": SGD(momentum=0.2)}),
        ({"optimizer": RMSprop(alpha=0.1)}, {"optimizer": RMSprop(alpha=0.2)}),
    ):
        assert structure(task, replace(base, **one)) == structure(task, replace(base, **two))


class Even(EMA):
    """An average of one's own."""


@dataclass(frozen=True, slots=True)
class Slow:
    """The same, not by inheritance."""

    def build(self, module: nn.Module) -> Exponential:
        return Exponential(EMA(), module)

    def conflicts(self) -> Iterator[str]:
        return iter(())


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        *(({name: value}, name) for name, value in REFUSED.items()),
        ({"micro_batch": 8}, "micro_batch: a pack takes the whole batch at once"),
        ({"precision": FP16()}, "precision FP16"),
        ({"precision": PureBF16()}, "precision PureBF16"),
        ({"average": Even()}, "average Even: only EMA and SWA"),
        ({"average": Slow()}, "average Slow: only EMA and SWA"),
        ({"validation": Sampled()}, "validation Sampled: what it looks at is drawn run by run"),
        ({"validation": Int8()}, "validation Int8"),
        ({"validation": WithinEpoch()}, "validation WithinEpoch: a pack is not looked at within an epoch"),
    ],
)
def test_a_recipe_that_no_pack_can_train(changes: Mapping[str, Any], said: str) -> None:
    reasons = list(unfit(replace(base, **changes)))
    assert len(reasons) == 1
    assert said in reasons[0]


def wider(seed: int) -> Splits:
    splits = clusters(seed)
    return replace(splits, train=tuple(tensor[:-1] for tensor in splits.train))


def test_shapes_are_those_of_the_data() -> None:
    run = started(task, base)
    own = {name: value for name, value in TOGETHER.items() if name not in ("split", "curriculum")}
    assert shapes(run) == shapes(started(task, replace(base, **own)))
    assert shapes(run) != shapes(started(replace(task, data=wider), base))
    assert shapes(run) != shapes(started(task, replace(base, batch_size=15)))
    assert shapes(run) != shapes(started(task, replace(base, split=KFold(folds=2))))
    assert shapes(run) != shapes(started(task, replace(base, precision=FP32())))


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # there are modules of that kind all the same
def test_what_a_module_says_beside_the_recipe() -> None:
    def said(**changes: Any) -> str:
        run = started(task, recipe(**changes))
        return " ".join(unfit_run(run))

    assert said(model=Built(with_hook)) == "model: it has a hook, which is called with one run at a time"
    assert "is a script" in said(model=Built(scripted))
    ramp = DropoutRamp()
    for make, kind in (
        (Attending, "MultiheadAttention"),
        (BY_RATE["recurrent"], "GRU"),
        (BY_RATE["subclass"], "Leaky"),
    ):
        assert f"a {kind}, cannot be each member's own" in said(model=Built(make, 0.1), dropout=ramp)
        assert not said(model=Built(make, 0.1))
    for make in SAME_BY_RATE.values():
        assert not said(model=Built(make, 0.1), dropout=ramp)
    assert not said()


def test_looks_that_only_a_long_epoch_has_are_found() -> None:
    """A thousand batches apart: the recipe alone does not tell."""
    late = WithinEpoch(every=1500)
    assert not list(unfit(recipe(validation=late)))

    def many(seed: int) -> Splits:
        splits = clusters(seed)
        return replace(splits, train=tuple(tensor.repeat(100, *[1] * (tensor.ndim - 1)) for tensor in splits.train))

    long = Task(name="long", data=many, metrics=task.metrics, goal=task.goal)
    assert "within an epoch" in " ".join(unfit_run(started(long, recipe(validation=late, batch_size=2))))
    assert not list(unfit_run(started(task, recipe(validation=late))))


def test_a_run_that_was_broken_off_is_not_taken_in() -> None:
    run = started(task, recipe())
    run.begin_epoch()
    broken = started(task, recipe(), run.state(within=True))
    assert list(unfit_run(broken)) == ["checkpoint: it was taken within an epoch"]


def test_a_plateau_policy_is_each_member_s_own() -> None:
    assert not list(unfit(replace(base, validation=OnPlateau())))
