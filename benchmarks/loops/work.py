"""What every loop trains: model, data, order and settings, the same for all."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trainables.models import MLP, Transformer

if TYPE_CHECKING:
    from torch import Tensor, nn

    from trainables import Splits
    from trainables.recipe import Model

LR, CLIP, DECAY, WARMUP = 1e-3, 1.0, 0.99, 0.1
"""Peak of the schedule, largest norm of the gradient, decay of the averaged weights, and the share of the run that warms up."""

PARTS = 2
"""Micro-batches a step."""

SEED, CLASSES = 0, 10

Lap = Callable[[], None]
"""Called at each epoch's end."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Scores:
    """The last epoch: mean training loss, and loss and accuracy of the averaged weights on the validation set."""

    train_loss: float
    val_loss: float
    accuracy: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Work:
    """A model, the shape of one sample, samples a step, steps an epoch, and samples of the validation and test sets.

    The latter are few, since an epoch's end counts as part of its steps.
    """

    name: str
    says: str
    model: Model
    shape: tuple[int, ...]
    batch: int
    steps: int
    held_out: int

    @property
    def micro(self) -> int:
        """Samples in a micro-batch."""
        return self.batch // PARTS

    def module(self) -> nn.Module:
        """The model with weights drawn as the product draws them, in training mode."""
        import torch

        from trainables.seeds import seeded

        with seeded(torch.device("cpu"), "init", SEED):
            return self.model.build().train()

    def data(self) -> Splits:
        """Normal inputs, classed by the largest of some fixed directions: learnable, never finished."""
        import torch

        from trainables import Splits
        from trainables.seeds import generator

        source = generator("loops", self.name)
        sizes = (self.steps * self.batch, self.held_out, self.held_out)
        teacher = torch.randn(math.prod(self.shape), CLASSES, generator=source)
        sets = []
        for size in sizes:
            inputs = torch.randn(size, *self.shape, generator=source)
            sets.append((inputs, (inputs.flatten(1) @ teacher).argmax(1)))
        return Splits(train=sets[0], val=sets[1], test=sets[2])

    def order(self, epoch: int) -> Tensor:
        """The order of the samples in an epoch, from 1, drawn as the product draws it."""
        import torch

        from trainables.seeds import generator

        return torch.randperm(self.steps * self.batch, generator=generator(SEED, epoch))

    def multiplier(self, step: int, epochs: int) -> float:
        """The schedule by arithmetic: a linear warm-up, then half a cosine down to zero; ``step`` counts from 0."""
        progress = (step + 0.5) / (self.steps * epochs)
        fallen = max(0.0, progress - WARMUP) / (1 - WARMUP)
        return min(1.0, progress / WARMUP) * 0.5 * (1 + math.cos(math.pi * fallen))


WORKS = (
    Work(
        name="mlp",
        says="64-256-256-10 perceptron, batch 128",
        model=MLP(widths=(256, 256), inputs=64, outputs=CLASSES),
        shape=(64,),
        batch=128,
        steps=200,
        held_out=256,
    ),
    Work(
        name="transformer",
        says="4-layer transformer (width 64, 16 steps), batch 32",
        model=Transformer(width=64, depth=4, heads=4, inputs=8, outputs=CLASSES, longest=16),
        shape=(16, 8),
        batch=32,
        steps=40,
        held_out=64,
    ),
)


def batches(inputs: Tensor, target: Tensor, order: Tensor, size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """One gather an epoch, then views."""
    return zip(inputs[order].split(size), target[order].split(size), strict=True)  # type: ignore[no-untyped-call]


def evaluated(module: nn.Module, inputs: Tensor, target: Tensor) -> tuple[float, float]:
    """Mean loss and accuracy; the module's mode is put back."""
    import torch
    from torch.nn import functional

    training = module.training
    module.eval()
    with torch.inference_mode():
        output = module(inputs)
        scores = torch.stack(
            [functional.cross_entropy(output, target), (output.argmax(1) == target).float().mean()]
        ).tolist()
    module.train(training)
    loss, accuracy = scores
    return loss, accuracy
