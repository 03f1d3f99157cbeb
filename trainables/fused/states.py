"""Keeping what the members of packs go on from."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from trainables.checkpoints.copies import Copies
from trainables.checkpoints.files import save
from trainables.checkpoints.weights import Weights, save_weights
from trainables.checkpoints.writer import Writer
from trainables.keep import BEFORE, BEST, LAST

if TYPE_CHECKING:
    from trainables.run import Run

FIRST_SECONDS = 5.0
"""How long a pack trains before its members are kept for the first time: losing less costs less than writing."""

SHARE = 0.05
"""The largest part of the time that writing takes: files of small runs take longer to write than an epoch to train."""


class States:
    """Writes the states of all members beside the training, and the best weights of those that have ended.

    A member's files are those that it would have alone, so that it goes on from them in any lane. They are written so seldom that
    it takes ``SHARE`` of the time at most; what a killed pack loses is what it trained since. All is on disk once this, a context,
    is left.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._writer, self._copies, self._clock = Writer(), Copies(), clock
        self._best: dict[Path, Weights] = {}
        self._written: dict[Path, int] = {}
        self._due = clock() + FIRST_SECONDS

    def __enter__(self) -> Self:
        self._writer.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.__exit__(kind, error, trace)

    def improved(self, folder: Path, run: Run) -> None:
        """Hold on to the weights of a run whose epoch is its best so far."""
        module = {name: _copy(value) for name, value in run.deployed.state_dict().items()}
        self._best[folder] = Weights(epoch=run.epoch, module=module)

    def keep(self, runs: Mapping[Path, Run]) -> None:
        """Write the states of these runs where that is due, by their folders; asked for between two epochs.

        Raises OSError, naming path and way out, for what could not be written the last time.
        """
        if self._clock() < self._due:
            return
        self._writer.wait()
        self._due = float("inf")  # until this is written
        states = self._copies.take({str(folder): run.state() for folder, run in runs.items()})
        self._writer.submit(partial(self._write, states, self._taken(runs)))

    def ended(self, folders: Collection[Path]) -> None:
        """Write the best weights of members, of those that have any that are not written, and come back when they are on disk.

        Raises OSError, naming path and way out, for what could not be written, now or the last time.
        """
        self._writer.wait()
        self._write_best(self._taken(folders))
        for folder in folders:
            self._best.pop(folder, None)

    def _taken(self, folders: Collection[Path]) -> dict[Path, Weights]:
        """The best weights of these members that are not on disk yet."""
        there = {folder: self._best[folder] for folder in folders if folder in self._best}
        return {folder: weights for folder, weights in there.items() if self._written.get(folder) != weights.epoch}

    def _write(self, states: Mapping[str, Mapping[str, Any]], best: Mapping[Path, Weights]) -> None:
        begun = self._clock()
        try:
            self._copies.wait()
            self._write_best(best)
            for name, state in states.items():
                folder = Path(name)
                _unless_removed(folder, partial(save, folder / LAST, {**state, "remark": None}, before=folder / BEFORE))
        finally:
            now = self._clock()
            self._due = now + (now - begun) / SHARE

    def _write_best(self, best: Mapping[Path, Weights]) -> None:
        for folder, weights in best.items():
            _unless_removed(folder, partial(save_weights, folder / BEST, weights))
            self._written[folder] = weights.epoch


def _unless_removed(folder: Path, write: Callable[[], object]) -> None:
    """Write into a folder, unless it is removed meanwhile: that of a trial which has been ended, and is wanted no more."""
    try:
        write()
    except OSError:
        if folder.exists():
            raise


def _copy(value: Any) -> Any:
    import torch

    return value.detach().to("cpu", copy=True) if isinstance(value, torch.Tensor) else value
