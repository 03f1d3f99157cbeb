"""A model that makes trouble in mid-training, in the worker that a test wants it in."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from ray.util.queue import Queue
from torch import Tensor, nn

from tests.trainables.small import clusters
from trainables import Splits
from trainables.fit import Epoch

STEP = 6
"""The forward pass of training in which trouble comes: in the second epoch of four steps each."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Net:
    """A small network with dropout. ``trouble`` comes in worker ``rank``: ``kill`` and ``raise`` once, ``always`` each time.

    ``company`` waits until two processes have built one. ``poison`` leaves torch's and Python's global state otherwise than it
    was. Every process that builds it is noted in ``place``.
    """

    place: str
    trouble: str = "none"
    rank: int = 1
    dropout: float = 0.2

    def build(self) -> nn.Module:
        folder = Path(self.place)
        (folder / f"{self.trouble}-{os.getpid()}").touch()
        return _Troubled(folder, self.trouble, self.rank, self.dropout)


class _Troubled(nn.Module):
    def __init__(self, folder: Path, trouble: str, rank: int, dropout: float) -> None:
        super().__init__()
        self.folder, self.trouble, self.rank, self.calls = folder, trouble, rank, 0
        self.layers = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Dropout(dropout), nn.Linear(8, 3))

    def forward(self, points: Tensor) -> Tensor:
        self.calls += self.training
        if self.training and self.calls == STEP and (dist.get_rank() if dist.is_initialized() else 0) == self.rank:
            self.make()
        return self.layers(points)  # type: ignore[no-any-return]

    def make(self) -> None:
        once = self.folder / f"{self.trouble}.done"
        if self.trouble == "poison":
            torch.set_default_dtype(torch.float64)
            torch.manual_seed(1)
            random.seed(1)
        if self.trouble == "company":
            for _ in range(6000):
                if len([*self.folder.iterdir()]) > 1:
                    break
                time.sleep(0.1)
        if self.trouble == "always":
            raise ValueError("this model never trains")
        if self.trouble in ("kill", "raise") and not once.exists():
            once.touch()
            if self.trouble == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            raise ValueError("a passing fault")


def slow_to_end(epochs: Iterator[Epoch]) -> Iterator[Epoch]:
    """A hook that takes longer to end than Tune waits for it; where that is settled, it is lowered to make this quick."""
    os.environ["TUNE_FUNCTION_THREAD_TIMEOUT_S"] = "1"
    try:
        yield from epochs
    except GeneratorExit:  # it was cut; one that reaches its end is in nobody's way
        time.sleep(10)  # so long that even a busy driver hands its actor over meanwhile
        raise


class SlowToHear:
    """Data that makes a process to which it is sent slow to pass on what others put into its queue of Ray's."""

    def __call__(self, seed: int) -> Splits:
        return clusters(seed)

    def __reduce__(self) -> tuple[Callable[[], SlowToHear], tuple[()]]:
        return _arrived, ()


def _arrived() -> SlowToHear:
    quick = Queue.get

    def get(self: Queue, *args: Any, **settings: Any) -> Any:
        item = quick(self, *args, **settings)
        time.sleep(3)
        return item

    Queue.get = get
    return SlowToHear()
