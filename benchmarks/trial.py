"""The trial that variants run: a perceptron on the handwritten digits, as one would write it by hand."""

from __future__ import annotations

import json
import resource
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from torch import Tensor, nn

    from trainables import Splits

LOWEST_LR, HIGHEST_LR = 5e-4, 2e-3


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """How wide the perceptron's two layers are, the batch size, and how many epochs are trained."""

    width: int = 128
    batch: int = 64
    epochs: int = 5


USUAL = Trial()
SMALL = Trial(width=40, batch=32, epochs=20)
"""Of 5 k parameters, as long as one of the first example's."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What a trial came to: its point and seed, optimizer steps, the losses of its last epoch, and which trial it was."""

    lr: float
    seed: int
    steps: int
    train_loss: float
    val_loss: float
    trial: Trial = USUAL

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        """Read from plain values, as ``asdict`` gives them."""
        return cls(**{**values, "trial": Trial(**values["trial"])})


def marked(marks: Path, outcome: Outcome) -> None:
    """Say that a trial has ended: a line with the moment, this process's CPU-seconds and bytes in memory, and the outcome."""
    held = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    used = {"process_cpu": time.process_time(), "process_rss": held}
    line = {"monotonic": time.monotonic(), **used, "outcome": asdict(outcome)}
    with marks.open("a") as file:
        file.write(json.dumps(line) + "\n")


def data() -> Splits:
    """Train, validation and test sets; the split is the same for all."""
    from trainables.tasks import digits

    return digits.load(0)


def model(seed: int, width: int = USUAL.width) -> nn.Module:
    """The perceptron with weights drawn as the product draws them, so that losses can be compared figure by figure."""
    import torch
    from torch import nn

    from trainables.seeds import seeded

    with seeded(torch.device("cpu"), "init", seed):
        return nn.Sequential(
            nn.Flatten(), nn.Linear(64, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 10)
        )


def order(samples: int, *, seed: int, epoch: int) -> Tensor:
    """The order of the samples in an epoch, drawn as the product draws it."""
    import torch

    from trainables.seeds import generator

    return torch.randperm(samples, generator=generator(seed, epoch))


def evaluated(module: nn.Module, inputs: Tensor, target: Tensor) -> tuple[float, float]:
    """Mean loss and accuracy."""
    import torch
    from torch.nn import functional

    module.eval()
    with torch.inference_mode():
        output = module(inputs)
        loss = float(functional.cross_entropy(output, target))
        return loss, float((output.argmax(1) == target).float().mean())
