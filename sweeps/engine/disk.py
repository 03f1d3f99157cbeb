"""The disk: how much of it a sweep's checkpoints take, told before anything is launched."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweeps.engine.errors import QuestionError
from sweeps.engine.rehearsal import for_a_cpu, load
from sweeps.engine.search import PBT
from sweeps.engine.spec import Sweep

if TYPE_CHECKING:
    from trainables import Splits
    from trainables.checkpoints import Needed
    from trainables.describe import Scalar


@dataclass(frozen=True, kw_only=True, slots=True)
class Disk:
    """Bytes, about: the ``most`` that checkpoints take at a time, what of it is ``left`` in the end; ``said`` is for a person."""

    most: int
    left: int
    said: str


def disk(sweep: Sweep, folder: Path, at_once: int) -> Disk:
    """What the checkpoints of a sweep take in its folder, by its largest model.

    Trials under way hold states and weights, the members of a population between their segments too, finished finals weights alone.
    Raises QuestionError, with the sum and the ways out, where the disk has less free than is needed at a time.
    """
    from trainables.checkpoints import size

    splits = load(sweep)
    levels = [(level, _trial(sweep, level, splits)) for level in sweep.levels()]
    trial = max(asked.most for _, asked in levels)
    left = sum(sweep.seeds * asked.left for _, asked in levels)
    most = at_once * trial + max(left, sum(_waiting(sweep, level) * asked.most for level, asked in levels))
    place = next(path for path in (folder, *folder.resolve().parents) if path.exists())
    usage = shutil.disk_usage(place)
    said = (
        f"checkpoints take up to about {size(most)} of the disk, {size(left)} in the end; {size(usage.free)} are free"
    )
    if most > usage.free and usage.total:  # an object store has no size
        raise QuestionError(
            f"{said}: too little for {folder}, with {at_once} at a time of up to {size(trial)} each; make room, name another place "
            "by --runs, or keep fewer epochs, as Sweep(keep=Keep()) does"
        )
    return Disk(most=most, left=left, said=said)


def _trial(sweep: Sweep, level: Mapping[str, Scalar], splits: Splits[Any]) -> Needed:
    """What one trial of a level needs, at the end of its space that needs most."""
    import torch

    from trainables.checkpoints import needed
    from trainables.run import Run

    found = []
    for end in range(sweep.ends):
        recipe = replace(sweep.corner(level, end), seed=sweep.heat_seeds(), compile=None)
        run = Run.start(sweep.task, for_a_cpu(sweep, recipe), splits=splits, device=torch.device("cpu"))
        found.append(needed(run, sweep.keep))
    return max(found, key=lambda asked: asked.most)


def _waiting(sweep: Sweep, level: Mapping[str, Scalar]) -> int:
    """Heats that are done and keep their state: the members of a population's generation, and those from which it goes on."""
    search = sweep.search_of(level)
    return 2 * search.trials if isinstance(search, PBT) else 0
