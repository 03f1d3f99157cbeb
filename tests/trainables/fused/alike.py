"""Packs beside separate runs of the same recipes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from trainables.fit import fit
from trainables.fused.pack import Pack
from trainables.fused.program import Program
from trainables.fused.varied import common
from trainables.recipe import Recipe
from trainables.run import Run
from trainables.task import Task
from trainables.telemetry import Meter

CPU = torch.device("cpu")

NEAR = 1e-12
"""How far a number in double precision may be from what it is alone, as a share of it, or of 1 where it is smaller."""

RECORDED, COMPUTED = 2, 1_000_000
"""The step of a shape from which on it is played back: the second, and none."""

COSTS = {"seconds", "wall_seconds", "cpu_seconds", "gpu_seconds", "joules", "peak_bytes", "time", "shared"}


def started(task: Task, recipe: Recipe, state: Mapping[str, Any] | None = None) -> Run:
    """A run before its next epoch."""
    run = Run.start(task, recipe, splits=None, device=CPU)
    if state is not None:
        run.load(state)
    return run


def program_of(run: Run, recorded_from: int = COMPUTED) -> Program:
    """What a pack computes by."""
    return Program(run.module, common(run.loss), run.recipe.precision, run.device, recorded_from=recorded_from)


def pack_of(runs: Sequence[Run], program: Program | None = None) -> Pack:
    """The runs as a pack."""
    return Pack(runs, program or program_of(runs[0]), Meter(runs[0].device))


def together(
    task: Task, recipes: Sequence[Recipe], epochs: int | None = None, recorded_from: int = COMPUTED
) -> list[Run]:
    """The runs after so many epochs, or to the end of the shortest."""
    runs = [started(task, recipe) for recipe in recipes]
    pack = pack_of(runs, program_of(runs[0], recorded_from))
    for _ in range(epochs if epochs is not None else min(recipe.epochs for recipe in recipes)):
        pack.epoch()
    return runs


def alone(task: Task, recipe: Recipe, epochs: int | None = None, state: Mapping[str, Any] | None = None) -> Run:
    """The same run by itself, after epoch number ``epochs`` or its last."""
    run = None
    for epoch in fit(task, recipe, state=state):
        run = epoch.run
        if epoch.epoch == epochs:
            break
    assert run is not None
    return run


def assert_alike(run: Run, wanted: Run, near: float = NEAR) -> None:
    """Two runs have the same history, weights, buffers, average and memory of the optimizer."""
    assert len(run.history) == len(wanted.history)
    for row, its in zip(run.history, wanted.history, strict=True):
        assert_near(numbers(row), numbers(its), near)
    mine, its = run.state(), wanted.state()
    for name in ("epoch", "step", "samples", "lr", "module", "average", "optimizer", "micro_batch"):
        assert_near(mine[name], its[name], near, name)


def numbers(row: Mapping[str, Any]) -> dict[str, Any]:
    """What a row says but for what the epoch cost."""
    return {name: value for name, value in row.items() if name not in COSTS and not name.startswith("system/")}


def assert_near(found: Any, wanted: Any, near: float = NEAR, where: str = "") -> None:
    """Nested values are equal, numbers and tensors nearly; what an optimizer holds at 0 need not be there yet."""
    if isinstance(wanted, Tensor):
        assert isinstance(found, Tensor), where
        assert found.shape == wanted.shape, where
        assert found.dtype == wanted.dtype, where
        torch.testing.assert_close(
            found, wanted, rtol=near, atol=near, equal_nan=True, msg=lambda text: f"{where}: {text}"
        )
    elif isinstance(wanted, Mapping):
        for name in found.keys() | wanted.keys():
            if name in found and name in wanted:
                assert_near(found[name], wanted[name], near, f"{where}.{name}")
            else:
                rest = found.get(name, wanted.get(name))
                assert rest is None or (isinstance(rest, Tensor) and not rest.any()), f"{where}.{name}"
    elif isinstance(wanted, list | tuple):
        assert len(found) == len(wanted), where
        for number, pair in enumerate(zip(found, wanted, strict=True)):
            assert_near(*pair, near, f"{where}.{number}")
    elif isinstance(wanted, float):
        assert math.isclose(found, wanted, rel_tol=near, abs_tol=near) or (found != found and wanted != wanted), (
            f"{where}: {found} instead of {wanted}"
        )
    else:
        assert found == wanted, f"{where}: {found} instead of {wanted}"


def assert_pack_alike(
    task: Task,
    recipes: Sequence[Recipe],
    epochs: int | None = None,
    near: float = NEAR,
    recorded_from: int = COMPUTED,
) -> list[Run]:
    """A pack's members are what the same recipes are alone; their runs come back."""
    epochs = epochs if epochs is not None else min(recipe.epochs for recipe in recipes)
    runs = together(task, recipes, epochs, recorded_from)
    for run, recipe in zip(runs, recipes, strict=True):
        assert_alike(run, alone(task, recipe, epochs), near)
    return runs
