"""Models whose need of memory is known, for the process that tries batches."""

from __future__ import annotations

import multiprocessing
import os
import signal
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from trainables import Minimise, Splits, Task

WIDTH = 500_000
"""Values of a sample in each layer: two megabytes in single precision."""


DEADLY = 200
"""Samples at once above which the process is killed, as what takes too much memory of a whole machine is."""


class Chain(nn.Module):
    """One weight, and ``layers`` operations that each keep their output: ``layers`` x ``width`` values a sample."""

    def __init__(self, layers: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.layers, self.width = layers, width

    def forward(self, x: Tensor) -> Tensor:
        if len(x) > DEADLY and multiprocessing.parent_process() is not None:
            os.kill(os.getpid(), signal.SIGKILL)
        x = (self.weight * x[:, :1]).expand(-1, self.width).relu()
        for _ in range(self.layers - 1):
            x = x.relu()
        return x.mean(dim=1, keepdim=True)


@dataclass(frozen=True, kw_only=True, slots=True)
class Greedy:
    layers: int = 4
    width: int = WIDTH

    def build(self) -> nn.Module:
        return Chain(self.layers, self.width)


def numbers(seed: int) -> Splits:  # noqa: ARG001
    points = torch.linspace(-1, 1, 300).unsqueeze(1)
    return Splits(train=(points, points), val=(points[:9], points[:9]), test=(points[:9], points[:9]))


def squared(output: Tensor, target: Tensor) -> Tensor:
    return (output - target).square().mean(dim=1)


task = Task(name="numbers", data=numbers, goal=Minimise("loss"), loss=squared)
