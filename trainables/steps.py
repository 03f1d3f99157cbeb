"""Loss and learning rate by step, for runs whose epochs last long."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from trainables.errors import ConflictError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from trainables.run import Run
    from trainables.task import Tensors

STEPS = "steps.jsonl"
"""The file's name."""


def conflicts(every: object) -> Iterator[str]:
    """What is wrong with a number of steps between two lines; None, which writes none, is right."""
    if every is not None and (not isinstance(every, int) or isinstance(every, bool) or every < 1):
        yield f"log_every {every!r} must be a whole number of steps from 1; None switches it off"


@dataclass(frozen=True, kw_only=True, slots=True)
class _Reading:
    """What stands in a line, but for the sums, which may still be on their way from the device."""

    told: Mapping[str, Any]
    sums: Tensor
    steps: int
    there: torch.cuda.Event | None

    @property
    def arrived(self) -> bool:
        """True when the sums can be read without waiting."""
        return self.there is None or bool(self.there.query())  # type: ignore[no-untyped-call]


class StepLog:
    """Appends a line to ``path`` after every so many steps of the optimizer: ``Through`` of a run.

    A line is ``{"epoch", "step", "samples", "lr", "loss", "grad_norm", "over", "time", "sums"}``. ``loss`` is the mean over all
    samples of the ``over`` steps since the line before in the same epoch, as ``train/loss`` is that of the whole epoch;
    ``grad_norm`` is there where clipping measures it; what is not finite is null. ``sums`` are those of the epoch so far: with them
    a run that goes on in mid-epoch writes the lines that it would have written undisturbed. Lines are never taken back: steps that
    are trained again are told again, and the last word counts.

    The device is not waited for: the sums travel while the next steps run, once in ``every``, and the line is written when they
    are there. Of several workers all take part, since the loss is that of all of them, and the first writes.
    """

    def __init__(self, path: Path, every: int) -> None:
        wrong = list(conflicts(every))
        if wrong:
            raise ConflictError("log", wrong)
        self._path, self._every = path, every

    def through(self, run: Run, batches: Iterator[Tensors]) -> Iterator[Tensors]:
        """The batches; lines are written on the way, the last ones when the epoch's batches are over."""
        file = _appended(self._path) if run.world.first else None
        before, waiting = self._before(run), None
        try:
            for batch in batches:
                step = run.step
                yield batch
                if run.step != step and run.step % self._every == 0:
                    before = _written(file, waiting, before)
                    waiting = _read(run)
                if waiting is not None and waiting.arrived:
                    before, waiting = _written(file, waiting, before), None
        finally:
            # Also when the run breaks off: the line belongs to steps that were taken.
            _written(file, waiting, before)
            if file is not None:
                file.close()

    def _before(self, run: Run) -> list[float]:
        """The sums, and the steps, at the last line of this epoch before the run goes on: none at an epoch's begin."""
        found = [0.0, 0.0, 0.0, 0.0]
        if not run.tally.batches or not run.world.first or not self._path.exists():
            return found
        for line in self._path.read_bytes().split(b"\n"):
            try:
                row = json.loads(line)
                if row["epoch"] == run.epoch and row["step"] <= run.step:
                    found = [math.nan if value is None else float(value) for value in row["sums"]]
            except (ValueError, KeyError, TypeError):
                continue  # torn by a crash
        return found


def _read(run: Run) -> _Reading:
    """The sums as they are now, set on their way."""
    import torch

    tally = run.tally
    sums = tally.sums
    run.world.total(sums[:1])  # the weight is that of all workers, the norm of their common gradient
    there = None
    if sums.is_cuda:
        host = torch.empty(3, dtype=sums.dtype, pin_memory=True)
        sums = host.copy_(sums, non_blocking=True)
        there = torch.cuda.Event()  # type: ignore[no-untyped-call]
        there.record()
    told: dict[str, Any] = {
        "epoch": run.epoch,
        "step": run.step,
        "samples": run.samples,
        "lr": run.lr,
        "time": time.time(),
    }
    if run.recipe.clip is not None:
        told["grad_norm"] = None
    return _Reading(told=told, sums=sums, steps=tally.steps, there=there)


def _written(file: BinaryIO | None, reading: _Reading | None, before: list[float]) -> list[float]:
    """Write a line, whole and at once; the sums behind it come back for the next one."""
    if reading is None:
        return before
    if reading.there is not None:
        reading.there.synchronize()
    now = [*reading.sums.tolist(), float(reading.steps)]
    loss, weight, norm, over = (new - old for new, old in zip(now, before, strict=True))
    row = {**reading.told, "loss": loss / weight if weight else math.nan, "over": over}
    if "grad_norm" in row:
        row["grad_norm"] = norm / over if over else math.nan
    plain: dict[str, Any] = {name: _finite(value) for name, value in row.items()}
    plain |= {"over": int(over), "sums": [_finite(value) for value in now]}
    if file is not None:
        file.write(json.dumps(plain).encode() + b"\n")
    return now


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _appended(path: Path) -> BinaryIO:
    """The file, opened so that a write is one whole line; a line that a crash tore ends here, and the reader leaves it out."""
    path.parent.mkdir(parents=True, exist_ok=True)
    file = path.open("ab+", buffering=0)
    if file.seek(0, 2):
        file.seek(-1, 2)
        if file.read(1) != b"\n":
            file.write(b"\n")
    return file
