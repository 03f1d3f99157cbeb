"""Every field of the recipe does something: changed alone, it makes another run."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from tests.trainables.small import recipe, task
from trainables import (
    EMA,
    FP32,
    SGD,
    Auto,
    Chunked,
    ClipNorm,
    Compile,
    Cosine,
    Curriculum,
    DropoutRamp,
    EarlyStopping,
    GradientNoise,
    KFold,
    LinearScaling,
    Noise,
    Prefetch,
    Recipe,
    Thirds,
)
from trainables.fit import Epoch, fit
from trainables.models import MLP
from trainables.run import Run
from trainables.train import train


@dataclass(frozen=True, kw_only=True, slots=True)
class Net:
    """Dropout, whose masks depend on the micro-batches."""

    def build(self) -> nn.Module:
        return nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 3))


def far(tensors: tuple[Tensor, ...]) -> Tensor:
    return -tensors[0].norm(dim=1)


ranked = replace(task, difficulty=far)
plain = recipe(model=Net(), epochs=6)


def half(output: Tensor, target: Tensor) -> Tensor:
    return 0.5 * nn.functional.cross_entropy(output, target)


def noting(epochs: Iterator[Epoch]) -> Iterator[Epoch]:
    for epoch in epochs:
        epoch.run.history[-1]["noted"] = 1.0
        yield epoch


CHANGED: dict[str, Any] = {
    "model": MLP(widths=(4,)),
    "batch_size": 8,
    "micro_batch": 5,
    "epochs": 7,
    "optimizer": SGD(lr=0.05),
    "schedule": Cosine(),
    "scaling": LinearScaling(reference=8),
    "loss": half,
    "average": EMA(decay=0.9),
    "precision": FP32(),
    "clip": ClipNorm(0.01),
    "noise": GradientNoise(),
    "dropout": DropoutRamp(start=0.5),
    "augment": Noise(std=0.5),
    "curriculum": Curriculum(),
    "sampling": Chunked(chunk=8, pieces=4),
    "split": KFold(),
    "prefetch": Prefetch(),
    "freeze": ("0.*",),
    "recompute": ("*",),
    "compile": Compile(),
    "validation": Thirds(),
    "stop": EarlyStopping(patience=1, min_delta=1.0),
    "hooks": (noting,),
    "deterministic": True,
    "seed": 4,
}


def run_of(settings: Recipe, folder: Path) -> str:
    """All that is told of a run but for what it cost."""
    history = train(ranked, settings, folder=folder, report=lambda _: False).history
    costs = {"seconds", "wall_seconds", "cpu_seconds", "peak_bytes", "time"}
    kept = [
        {name: value for name, value in row.items() if name not in costs and not name.startswith("system/")}
        for row in history
    ]
    return json.dumps(kept)


def kept(settings: Recipe, folder: Path) -> int:  # noqa: ARG001
    """Values kept for the backward pass."""
    sizes: list[int] = []
    run = Run.start(ranked, settings, splits=None, device=torch.device("cpu"))

    def pack(tensor: Tensor) -> Tensor:
        sizes.append(tensor.numel())
        return tensor

    with saved_tensors_hooks(pack, lambda tensor: tensor):
        run.module(run.splits.train[0])
    return sum(sizes)


def compiled(settings: Recipe, folder: Path) -> bool:  # noqa: ARG001
    """Whether the module is compiled; that it then gives the same numbers is tested elsewhere."""
    run = Run.start(ranked, settings, splits=None, device=torch.device("cpu"))
    return run.module._compiled_call_impl is not None


def switched(settings: Recipe, folder: Path) -> set[bool]:  # noqa: ARG001
    """Whether the loss is computed by deterministic algorithms."""
    seen = set()

    def loss(output: Tensor, target: Tensor) -> Tensor:
        seen.add(torch.are_deterministic_algorithms_enabled())
        return half(output, target)

    for _ in fit(ranked, replace(settings, loss=loss, epochs=1)):
        pass
    return seen


def ahead(settings: Recipe, folder: Path) -> bool:  # noqa: ARG001
    """Whether batches are looked up outside the training thread."""
    seen = set()

    def blocks(train: Any, *seed: int) -> Iterator[Tensor]:
        for block in Chunked(chunk=8, pieces=4).blocks(train, *seed):
            seen.add(threading.current_thread() is threading.main_thread())
            yield block

    for _ in fit(ranked, replace(settings, sampling=Blocks(blocks), epochs=1)):
        pass
    return seen == {False}


@dataclass(frozen=True, slots=True)
class Blocks:
    """An order of one's own."""

    blocks: Callable[..., Iterator[Tensor]]

    def conflicts(self) -> Iterator[str]:
        """None."""
        return iter(())


OBSERVED: dict[str, Callable[[Recipe, Path], object]] = {
    "recompute": kept,
    "prefetch": ahead,
    "compile": compiled,
    "deterministic": switched,
}
"""What shows a field that must not change the numbers."""


def test_no_field_is_left_out() -> None:
    assert CHANGED.keys() == {field.name for field in fields(Recipe)}


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # torch's own, when it loads its compiler
@pytest.mark.parametrize("name", CHANGED)
def test_it_changes_the_run(name: str, tmp_path: Path) -> None:
    observe = OBSERVED.get(name, run_of)
    changed = replace(plain, **{name: CHANGED[name]})
    assert observe(changed, tmp_path / "changed") != observe(plain, tmp_path / "plain")
    if observe is run_of:
        assert run_of(plain, tmp_path / "plain") == run_of(plain, tmp_path / "again")


def test_auto_changes_what_is_told() -> None:
    run = Run.start(ranked, replace(plain, micro_batch=Auto()), splits=None, device=torch.device("cpu"))
    assert run.micro_batch == run.plan.micro_batch == 16
