"""Members that diverge, leave, join and go on elsewhere, beside the same runs alone."""

from __future__ import annotations

import copy
import io
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.optim import Adagrad

from tests.trainables.fused.alike import alone, assert_alike, numbers, pack_of, program_of, started
from tests.trainables.fused.test_architectures import MODELS
from tests.trainables.fused.test_architectures import task as waves
from tests.trainables.fused.test_rules import Own
from tests.trainables.small import recipe, task
from trainables import EMA, FP64, SWA, AdamW, ClipNorm, CrossEntropy, GradientNoise, Recipe
from trainables.fused.pack import Pack
from trainables.models import CNN, MLP
from trainables.optimizers import LAMB, SGD, Adam, RAdam, RMSprop
from trainables.run import Run


def members(count: int = 4, **changes: Any) -> list[Recipe]:
    """Recipes with settings of their own."""
    return [
        recipe(
            **{
                "model": MLP(widths=(8,), norm=True),
                "optimizer": AdamW(lr=0.01 * (k + 1), weight_decay=0.1 * (k + 1), betas=(0.8, 0.9 + 0.01 * k)),
                "average": EMA(decay=0.7 + 0.05 * k, warmup=k % 2 == 0),
                "loss": CrossEntropy(smoothing=0.1 * k),
                "noise": GradientNoise(eta=0.01 * (k + 1)),
                "clip": ClipNorm(0.2 * (k + 1)),
                "epochs": 6 + k,
                "seed": k,
                **{name: change(k) if callable(change) else change for name, change in changes.items()},
            }
        )
        for k in range(count)
    ]


def kept(run: Run) -> dict[str, Any]:
    """A state as it comes back from a file."""
    file = io.BytesIO()
    torch.save(run.state(), file)
    file.seek(0)
    state: dict[str, Any] = torch.load(file, weights_only=False)
    return state


KINDS: dict[str, dict[str, Any]] = {
    "adamw": {},
    "adam": {"optimizer": lambda k: Adam(lr=0.01 * (k + 1)), "average": None},
    "momentum": {
        "optimizer": lambda k: SGD(lr=0.02 * (k + 1), momentum=0.2 * (k + 1)),
        "average": lambda k: SWA(epochs=2 + k),
    },
    "radam": {"optimizer": lambda k: RAdam(lr=0.01 * (k + 1))},
    "rmsprop": {"optimizer": lambda k: RMSprop(lr=0.01 * (k + 1), momentum=0.5, centered=True)},
    "lamb": {"optimizer": lambda k: LAMB(lr=0.01 * (k + 1)), "clip": None},
    "one by one": {"optimizer": lambda k: Own(lambda p: Adagrad(p, lr_decay=0.1 * k))},
    "statistics": {"model": CNN(channels=(4,), image=(1, 2, 1)), "average": lambda k: EMA(decay=0.5 + 0.1 * k)},
    "frozen": {"freeze": ("blocks.0.0.*",)},
}


@pytest.mark.parametrize("kind", KINDS)
def test_members_leave_and_join_and_all_go_on(kind: str) -> None:
    """Two leave, of which one goes on alone; one joins from its start, another from two epochs by itself."""
    recipes = members(4, **KINDS[kind])
    first, second, third, late = recipes
    runs = [started(task, one) for one in (first, second, third)]
    program = program_of(runs[0])
    pack = pack_of(runs, program)
    pack.epoch()
    gone = kept(runs[1])
    left = kept(runs[2])
    pack = pack_of([runs[0], started(task, late)], program)
    pack.epoch()
    joined = started(task, second, kept(alone(task, second, 2)))
    pack = pack_of([joined, *pack.runs], program)
    pack.epoch()
    pack.epoch()
    assert_alike(joined, alone(task, second, 4))
    assert_alike(runs[0], alone(task, first, 4))
    assert_alike(pack.runs[2], alone(task, late, 3))
    assert_alike(alone(task, second, 3, state=gone), alone(task, second, 3))
    assert_alike(alone(task, third, state=left), alone(task, third))
    assert_alike(alone(task, late, 5, state=kept(pack.runs[2])), alone(task, late, 5))


def test_a_run_that_has_left_is_not_touched_any_more() -> None:
    runs = [started(task, one) for one in members(3)]
    program = program_of(runs[0])
    pack_of(runs, program).epoch()
    before = copy.deepcopy(runs[1].state())
    pack_of([runs[0], runs[2]], program).epoch()
    assert_alike(runs[1], started(task, runs[1].recipe, before))


def test_members_with_fewer_epochs_leave_first() -> None:
    runs = [started(task, one) for one in members(3, epochs=lambda k: 2 + k)]
    program = program_of(runs[0])
    left = runs
    while left:
        pack_of(left, program).epoch()
        left = [run for run in left if run.epoch < run.recipe.epochs]
    for run in runs:
        assert_alike(run, alone(task, run.recipe))


@pytest.mark.parametrize("name", MODELS)
def test_a_member_that_is_not_a_number_touches_no_other(name: str) -> None:
    base = Recipe(model=MODELS[name], batch_size=8, precision=FP64(), optimizer=AdamW(lr=0.01), clip=ClipNorm(0.1))
    runs = [started(waves, replace(base, seed=seed, average=EMA(decay=0.9))) for seed in range(3)]
    pack = pack_of(runs)
    with torch.no_grad():
        for parameter in runs[1].parameters:
            parameter.view(-1)[0] = torch.nan
    pack.epoch()
    assert runs[1].history[0]["train/loss"] != runs[1].history[0]["train/loss"]
    for run in (runs[0], runs[2]):
        assert_alike(run, alone(waves, run.recipe, 1))


def test_a_member_that_diverges_is_what_it_is_alone() -> None:
    """At a rate at which its weights leave the numbers that there are."""
    recipes = [
        recipe(model=MLP(widths=(8,)), optimizer=SGD(lr=lr, momentum=0.9), epochs=3) for lr in (0.1, 1e200, 0.05)
    ]
    runs = [started(task, one) for one in recipes]
    pack = pack_of(runs)
    for _ in range(3):
        pack.epoch()
    for run in runs:
        wanted = alone(task, run.recipe)
        if run is runs[1]:
            assert not all(parameter.isfinite().all() for parameter in run.parameters)
            assert not all(parameter.isfinite().all() for parameter in wanted.parameters)
            assert [numbers(row).keys() for row in run.history] == [numbers(row).keys() for row in wanted.history]
        else:
            assert_alike(run, wanted)


def test_runs_of_two_structures_are_no_pack() -> None:
    runs = [started(task, one) for one in (recipe(), recipe(clip=ClipNorm(0.1)))]
    with pytest.raises(ValueError, match="member 1 is not built as the first is: clip: ClipNorm"):
        pack_of(runs)
    wider = started(task, recipe(model=MLP(widths=(9,))))
    with pytest.raises(ValueError, match="member 1 is not built as the first is"):
        pack_of([runs[0], wider])
    with pytest.raises(ValueError, match="the program was made for another module or loss"):
        pack_of([runs[0]], program_of(wider))


def test_an_epoch_is_told_as_fit_tells_it() -> None:
    recipes = members(2)
    pack = pack_of([started(task, one) for one in recipes])
    assert isinstance(pack, Pack)
    assert len(pack) == 2
    for epoch, one in zip(pack.epoch(), recipes, strict=True):
        run = alone(task, one, 1)
        row = run.history[0]
        assert (epoch.epoch, epoch.step, epoch.samples, epoch.lr) == (1, row["step"], row["samples"], row["lr"])
        assert dict(epoch.metrics).keys() == {name for name in row if "/" in name and not name.startswith("system")}
        assert epoch.improved
        assert not epoch.seconds
        assert epoch.run.history[0]["shared"] == 2
