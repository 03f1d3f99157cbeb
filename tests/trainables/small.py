"""A small task that trains in milliseconds: three noisy classes in two dimensions."""

from __future__ import annotations

from typing import Any

import torch

from trainables import FP64, SGD, Maximise, Recipe, Splits, Task, accuracy
from trainables.models import MLP
from trainables.seeds import generator
from trainables.splitting import random


def clusters(seed: int) -> Splits:
    """101 points, so that batches come out uneven."""
    noise = generator("clusters", 0)
    classes = torch.arange(101) % 3
    centres = torch.tensor([[0.0, 1.0], [1.0, -1.0], [-1.0, -0.5]])
    points = centres[classes] + 0.6 * torch.randn(101, 2, generator=noise)
    return random(points, classes, seed=seed)


task = Task(name="clusters", data=clusters, metrics={"accuracy": accuracy}, goal=Maximise("accuracy"), samples=61)


def recipe(**changes: Any) -> Recipe:
    """A recipe for it, in double precision."""
    settings: dict[str, Any] = {
        "model": MLP(widths=(8,)),
        "batch_size": 16,
        "epochs": 4,
        "optimizer": SGD(lr=0.1, momentum=0.9),
        "precision": FP64(),
        "seed": 3,
    }
    return Recipe(**settings | changes)
