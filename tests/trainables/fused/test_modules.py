"""Modules whose tensors and parts are known by several names, or written, beside the same runs alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.trainables.fused.alike import (
    assert_near,
    assert_pack_alike,
    together,
)
from tests.trainables.fused.test_settings import Built
from tests.trainables.small import recipe, task
from trainables import (
    EMA,
    FP32,
    AdamW,
)


class Level(nn.Module):
    mean: Tensor

    def __init__(self, mean: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean)


class Mixed(nn.Module):
    """Tied weights, parts with two names or in a list, buffers that stay, that are written and that have two names."""

    mask: Tensor
    mean: Tensor
    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(2, 6)
        self.middle = nn.Linear(6, 6, bias=False)
        self.tied = nn.Linear(6, 6, bias=False)
        self.tied.weight = self.middle.weight
        self.twice = nn.Sequential(self.middle, nn.ReLU(inplace=True), self.middle)
        self.last = [nn.Linear(6, 3)]
        self.head = self.last[0]
        self.register_buffer("mask", (torch.rand(6) < 0.7).float())
        self.register_buffer("mean", torch.zeros(6))
        self.register_buffer("count", torch.tensor(0))
        self.register_buffer("none", None)
        self.also = Level(self.mean)

    def forward(self, x: Tensor) -> Tensor:
        x = self.tied(self.twice(torch.tanh(self.first(x)))) * self.mask
        if self.training:
            self.count += 1
            with torch.no_grad():
                self.mean.mul_(0.9).add_(0.1 * x.mean(0))
        out: Tensor = self.last[0](x - self.mean + 0.1 * self.also.mean)
        return out


class Exchanged(nn.Module):
    """A buffer that is replaced, not written."""

    level: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 3)
        self.register_buffer("level", torch.zeros(3))

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer(x)
        if self.training:
            self.level = 0.9 * self.level + 0.1 * x.detach().mean(0)
        return x - self.level


@pytest.mark.parametrize(("make", "average"), [(Mixed, None), (Mixed, EMA(decay=0.7)), (Exchanged, None)])
def test_tied_weights_shared_parts_and_buffers(make: Callable[[], nn.Module], average: Any) -> None:
    members = [recipe(model=Built(make), average=average, seed=k, optimizer=AdamW(lr=0.01 * (k + 1))) for k in range(3)]
    for run in assert_pack_alike(task, members):
        modules = [run.module, *([run.average.module] if run.average else [])]
        for module in modules if make is Mixed else ():
            assert_near(module.state_dict()["tied.weight"], module.state_dict()["middle.weight"], 0.0)


def test_a_buffer_with_two_names_stays_one() -> None:
    """In single precision; torch takes the two apart where it changes a module's type."""
    for run in together(task, [recipe(model=Built(Mixed), precision=FP32(), seed=k) for k in range(2)]):
        state = run.module.state_dict()
        assert state["mean"].any()
        assert_near(state["also.mean"], state["mean"], 0.0)


@pytest.mark.parametrize("make", [nn.ReLU, nn.ELU], ids=["relu", "elu"])
def test_what_writes_in_place(make: Callable[..., nn.Module]) -> None:
    def built() -> nn.Module:
        return nn.Sequential(make(inplace=True), nn.Linear(2, 8), make(inplace=True), nn.Linear(8, 3))

    assert_pack_alike(task, [recipe(model=Built(built), seed=k) for k in range(2)])
