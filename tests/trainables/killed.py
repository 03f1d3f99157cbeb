"""A run that is killed again and again: ``python -m tests.trainables.killed FOLDER KILLS`` prints what was seen, as JSON.

torch is imported once; every life of the run is a fork of this process.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import torch

from tests.trainables.small import recipe, task
from trainables import EMA, Adam, Augmentations, ClipNorm, Cosine, Noise, Recipe
from trainables.checkpoints import found
from trainables.keep import TEMPORARY, Keep
from trainables.models import MLP
from trainables.train import train

if TYPE_CHECKING:
    from trainables.task import Tensors

STEPS = 5
"""The state is kept after so many steps, and at the end of each epoch."""

KEEP = Keep(steps=STEPS, top=2, every=5)


@dataclass(frozen=True, kw_only=True, slots=True)
class Telling:
    """Leaves the batches as they are, and writes a byte for each."""

    to: int

    def __call__(self, batch: Tensors, generator: torch.Generator) -> Tensors:  # noqa: ARG002
        os.write(self.to, b".")
        return batch

    def conflicts(self) -> Iterator[str]:
        yield from ()


def settings(to: int) -> Recipe:
    """16 steps an epoch, and everything that draws numbers or has a state."""
    return recipe(
        model=MLP(widths=(16, 16), dropout=0.2),
        batch_size=4,
        epochs=12,
        optimizer=Adam(lr=0.01),
        schedule=Cosine(warmup=0.1),
        average=EMA(decay=0.99),
        clip=ClipNorm(1.0),
        augment=Augmentations(Noise(std=0.1), Telling(to=to)),
    )


def life(folder: Path, to: int) -> int:
    """The process of a run that goes on in ``folder`` and writes a byte to ``to`` for every batch."""
    child = os.fork()
    if child == 0:
        ending = 1
        try:
            train(task, settings(to), folder=folder, report=lambda _: False, keep=KEEP)
            ending = 0
        finally:
            os._exit(ending)
    return child


def kept(steps: int) -> list[int]:
    """The steps, up to this one, after which a state is handed over."""
    return [step for step in range(1, steps + 1) if step % STEPS == 0 or step % 16 == 0]


def main(folder: Path, kills: int) -> None:
    """Let one run be, then kill others until there were so many kills."""
    torch.set_num_threads(1)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    # In this process, so that what torch loads when it is first used is there for all that come after.
    train(task, settings(nowhere), folder=folder / "whole", report=lambda _: False, keep=KEEP)
    begun = time.perf_counter()
    train(task, settings(nowhere), folder=folder / "timed", report=lambda _: False, keep=KEEP)
    usual = time.perf_counter() - begun
    seen = {"kills": 0, "runs": 0, "writing": 0, "within": 0, "lost": 0, "more": 0}
    draws, longest = Random(0), usual / 4
    while seen["kills"] < kills:
        seen["runs"] += 1
        while killed(folder / str(seen["runs"]), draws.uniform(0, longest), seen):
            longest *= 1.01  # so that a machine that grows slower does not keep a run from its end
    print(json.dumps(seen))


def killed(folder: Path, after: float, seen: dict[str, int]) -> bool:
    """Let a run go on and kill it after so many seconds; False when it had come to its end."""
    before = found(folder).state
    out, into = os.pipe()
    child = life(folder, into)
    os.close(into)
    time.sleep(after)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    with os.fdopen(out, "rb") as pipe:
        batches = len(pipe.read())
    if not os.WIFSIGNALED(status):
        assert os.WEXITSTATUS(status) == 0
        return False
    state = found(folder).state
    step = state["step"] if state is not None else 0
    # The step of the last batch that was taken may not have been. What is handed over waits for what was handed over before.
    taken = max(0, (before["step"] if before is not None else 0) + batches - 1)
    sure = [0, 0, *kept(taken)]
    seen["kills"] += 1
    seen["writing"] += any(path.name.endswith(TEMPORARY) for path in folder.glob("*"))
    seen["within"] += state is not None and state["within"] is not None
    seen["lost"] = max(seen["lost"], taken - step)
    seen["more"] += step < sure[-2]
    return True


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
