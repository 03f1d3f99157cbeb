"""A pack of four that is killed by a test; its states are written whenever the last ones are on disk."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from tests.trainables.small import recipe, task
from trainables import SGD
from trainables.fused.states import States
from trainables.fused.train import Member, train_together
from trainables.train import Trained


def main(folder: Path) -> None:
    """Train to the end from where it was, and write the metrics of all members there."""
    folder.mkdir(parents=True, exist_ok=True)
    splits = task.load(0)
    members = {
        str(seed): Member(
            name=str(seed),
            recipe=recipe(seed=seed, epochs=60, optimizer=SGD(lr=0.05, momentum=0.9)),
            folder=folder / str(seed),
            splits=splits,
        )
        for seed in range(4)
    }
    runs = {name: member.run(task, torch.device("cpu")) for name, member in members.items()}
    over: dict[str, list[float]] = {}
    ticks = iter(range(10**9))

    def report(_: Mapping[str, Sequence[Mapping[str, Any]]]) -> Collection[str]:
        (folder / "begun").touch()
        time.sleep(0.01)
        return ()

    def ended(name: str, trained: Trained) -> None:
        over[name] = [row[value] for row in trained.history for value in ("train/loss", "val/loss", "val/accuracy")]

    kept = partial(States, clock=lambda: float(next(ticks) * 10**6))
    train_together(task, runs, members, report=report, ended=ended, kept=kept)
    (folder / "over.json").write_text(json.dumps(over))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
