"""Training for a while to see where the time goes."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainables.errors import ConflictError
from trainables.keep import Keep
from trainables.profiler.settings import Profile

if TYPE_CHECKING:
    import torch

    from trainables.profiler.timing import Profiled
    from trainables.recipe import Recipe
    from trainables.task import Splits, Task
    from trainables.world import World

EPOCHS = 3
"""One that warms up and two that are measured."""


def profile(
    task: Task,
    recipe: Recipe,
    *,
    epochs: int = EPOCHS,
    settings: Profile | None = None,
    trace: Path | None = None,
    splits: Splits[Any] | None = None,
    device: str | torch.device = "cpu",
    world: World | None = None,
    keep: Keep | None = None,
    place: Path | None = None,
) -> Profiled:
    """Train for so many epochs, checkpoints included, and say where the time went; nothing is left behind but the ``trace``.

    Checkpoints are written into a folder of their own below ``place`` (None: where temporary files lie, which may be faster than
    the disk that a sweep writes to). The trace goes where ``trace`` says, and ``settings`` name its steps. Raises ConflictError
    when task, recipe or settings cannot be followed.
    """
    from trainables.train import train

    settings = settings or Profile()
    conflicts = list(settings.conflicts())
    if settings.trace is not None and trace is None:
        conflicts.append(
            f"Profile trace {settings.trace}: there is no file to write it to; name one by trace=Path(...)"
        )
    if trace is not None and (trace.is_dir() or not trace.parent.is_dir()):
        wrong = "is a folder" if trace.is_dir() else f"lies in {trace.parent}, which is none"
        conflicts.append(f"trace {trace} {wrong}; name a file, such as trace.json, in a folder that is there")
    if conflicts:
        raise ConflictError("profile", conflicts)
    with tempfile.TemporaryDirectory(dir=place, prefix="profile-") as folder:
        trained = train(
            task,
            replace(recipe, epochs=epochs, stop=None),
            folder=Path(folder),
            report=_on,
            splits=splits,
            device=device,
            world=world,
            keep=keep or Keep(),
            profile=settings,
            trace=trace,
        )
    if trained.profiled is None:
        raise RuntimeError("no epoch was trained")
    return trained.profiled


def _on(_: Sequence[Mapping[str, Any]]) -> bool:
    return False
