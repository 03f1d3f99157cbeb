"""Checkpoints on disk: written whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from trainables.fit import Epoch

LAST, BEST = "last.pt", "best.pt"


def checkpointed(epochs: Iterable[Epoch], folder: Path) -> Generator[Epoch]:
    """Keep ``last.pt`` (the whole state) after every epoch, and ``best.pt`` (the weights) where validation improved.

    The best is written first: a crash between the two repeats the epoch and writes the same best again. The first of
    several workers writes.
    """
    for epoch in epochs:
        if not epoch.run.world.first:
            yield epoch
            continue
        folder.mkdir(parents=True, exist_ok=True)
        if epoch.improved:
            save(folder / BEST, {"epoch": epoch.epoch, "module": epoch.run.deployed.state_dict()})
        save(folder / LAST, epoch.run.state())
        yield epoch


def save(path: Path, state: Mapping[str, Any]) -> None:
    """Write by temporary file, sync and rename, so that ``path`` always holds a whole checkpoint."""
    temporary = path.with_suffix(".tmp")
    with temporary.open("wb") as file:
        torch.save(dict(state), file)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def load(path: Path, device: str | torch.device = "cpu") -> dict[str, Any] | None:
    """The checkpoint, or None when there is none. Only tensors and plain values are unpickled, never code.

    Raises ValueError, naming the file, when it is damaged.
    """
    if not path.exists():
        return None
    try:
        state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
    except Exception as error:
        raise ValueError(f"{path} is damaged ({type(error).__name__}); delete it and the trial starts anew") from error
    return state
