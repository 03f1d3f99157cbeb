"""What all paths to the data train on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trainables as t
from trainables.models import MLP
from trainables.seeds import generator

if TYPE_CHECKING:
    from torch import Tensor

SAMPLES, WIDTH, CLASSES = 20_000, 256, 10
BATCH, SEED = 128, 0
STEPS = -(-SAMPLES // BATCH)


def tensors() -> tuple[Tensor, Tensor]:
    """20,000 samples of 256 numbers in ten noisy classes: 20 MB, on whose batches a copy is felt."""
    import torch

    drawn = generator("benchmark", SEED)
    target = torch.randint(CLASSES, (SAMPLES,), generator=drawn)
    centres = torch.randn(CLASSES, WIDTH, generator=drawn)
    return centres[target] + 3 * torch.randn(SAMPLES, WIDTH, generator=drawn), target


def splits(train: object) -> t.Splits:
    """These samples to learn from, and a few to look at, since looking is not what is measured."""
    inputs, target = tensors()
    few = inputs[:BATCH], target[:BATCH]
    return t.Splits(train=train, val=few, test=few)  # type: ignore[arg-type]


def task() -> t.Task:
    """The task, in memory."""
    data = splits(tensors())
    return t.Task(name="classes", data=lambda _: data, goal=t.Minimise("loss"), samples=SAMPLES)


def recipe(epochs: int, **changes: object) -> t.Recipe:
    """A small network, whose step is short enough for a path to be felt."""
    plain = t.Recipe(
        model=MLP(widths=(128, 128)),
        batch_size=BATCH,
        epochs=epochs,
        optimizer=t.AdamW(decay_vectors=True),
        seed=SEED,
    )
    from dataclasses import replace

    return replace(plain, **changes)  # type: ignore[arg-type]
