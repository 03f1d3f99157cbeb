"""How wide must a network be to tell two spirals apart? Model, data and metric of one's own, in one file.

python examples/spirals.py
"""

import math
from dataclasses import dataclass

import torch
from torch import nn

from sweeps import TPE, Sweep, each, log_uniform, main
from trainables import AdamW, Cosine, Maximise, Recipe, Splits, Task


@dataclass(frozen=True, kw_only=True, slots=True)
class Net:
    """Two hidden layers; any frozen dataclass with a ``build`` is a model, and any of its fields can be a hole."""

    width: int = 64

    def build(self) -> nn.Module:
        width = self.width
        return nn.Sequential(nn.Linear(2, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 2))


def spirals(seed: int) -> Splits:
    """Two noisy arms, drawn anew for every seed: 400 points to learn from, 400 to choose on, 1,000 to judge on."""
    generator = torch.Generator().manual_seed(seed)
    arm = torch.arange(1800) % 2
    turn = 3 * math.pi * torch.rand(1800, generator=generator).sqrt()
    angle = turn + math.pi * arm
    points = torch.stack([turn * angle.cos(), turn * angle.sin()], dim=1) / 3
    points += 0.08 * torch.randn(1800, 2, generator=generator)
    return Splits(train=(points[:400], arm[:400]), val=(points[400:800], arm[400:800]), test=(points[800:], arm[800:]))


def accuracy(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Share of points given to their own arm."""
    return (output.argmax(1) == target).float()


task = Task(name="spirals", data=spirals, metrics={"accuracy": accuracy}, goal=Maximise("accuracy", target=0.98))

sweep = Sweep(
    name="spirals",
    task=task,
    recipe=Recipe(
        model=Net(width=each(4, 8, 16, 32)),
        batch_size=50,
        optimizer=AdamW(lr=log_uniform(1e-3, 1e-1)),
        schedule=Cosine(),
        epochs=40,
    ),
    search=TPE(trials=6),
    seeds=8,
)

if __name__ == "__main__":
    main(sweep)
