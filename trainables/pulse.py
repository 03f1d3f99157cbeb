"""How far an epoch has come, told from a process that trains to whoever watches it, where an epoch lasts long."""

from __future__ import annotations

import contextlib
import json
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainables.keep import TEMPORARY

if TYPE_CHECKING:
    from trainables.run import Run
    from trainables.task import Tensors

PULSE = "pulse.json"
"""The file's name."""

PATIENCE, PAUSE = 5.0, 2.0
"""Seconds that an epoch has lasted before the first word, and between two words."""


class Pulse:
    """Keeps a small file beside a run's checkpoints up to date, and removes it: ``Through`` of a run, and a context around it.

    ``{"epoch", "done", "of", "step_seconds", "loss", "lr", "validating"}``: steps done of those of the epoch, and the mean loss of
    the epoch so far. A file needs no channel to the watcher, whatever started the process; nobody waits for it, and one that cannot
    be written is left out. A run of short epochs writes none: it costs a look at the clock a step. Of several workers the
    first writes.
    """

    def __init__(
        self,
        folder: Path,
        *,
        patience: float = PATIENCE,
        pause: float = PAUSE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path, self._patience, self._pause, self._clock = folder / PULSE, patience, pause, clock
        self._told = False

    def __enter__(self) -> Pulse:
        return self

    def __exit__(self, *_: object) -> None:
        if self._told:
            with contextlib.suppress(OSError):
                self._path.unlink(missing_ok=True)

    def through(self, run: Run, batches: Iterator[Tensors]) -> Iterator[Tensors]:
        """The batches."""
        if not run.world.first:
            yield from batches
            return
        begun, first = self._clock(), run.tally.batches
        due = begun + self._patience
        for batch in batches:
            yield batch
            now = self._clock()
            if now >= due:
                due = now + self._pause
                self._tell(run, (now - begun) / (run.tally.batches - first), validating=False)
        if (now := self._clock()) >= begun + self._patience:
            self._tell(run, (now - begun) / max(run.tally.batches - first, 1), validating=True)

    def _tell(self, run: Run, step_seconds: float, *, validating: bool) -> None:
        """Put the file there, whole."""
        weight = float(run.tally.weight)
        loss = float(run.tally.loss) * run.world.size / weight if weight else math.nan
        told: dict[str, Any] = {
            "epoch": run.epoch,
            "done": run.tally.batches,
            "of": run.plan.steps_per_epoch,
            "step_seconds": step_seconds,
            "loss": loss if math.isfinite(loss) else None,
            "lr": run.lr,
            "validating": validating,
        }
        temporary = self._path.with_name(self._path.name + TEMPORARY)
        with contextlib.suppress(OSError):
            temporary.write_text(json.dumps(told))
            temporary.replace(self._path)
            self._told = True
