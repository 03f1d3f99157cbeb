"""Keeping a run's checkpoints while it trains."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from trainables.checkpoints.copies import Copies
from trainables.checkpoints.files import made, save
from trainables.checkpoints.found import Found
from trainables.checkpoints.needed import needed
from trainables.checkpoints.weights import Weights, save_weights
from trainables.checkpoints.writer import Writer
from trainables.keep import ANY, BEFORE, BEST, LAST, Keep, named

if TYPE_CHECKING:
    from trainables.fit import Epoch
    from trainables.run import Run
    from trainables.task import Tensors


@dataclass(kw_only=True, slots=True)
class Written:
    """What was written: ``states`` of ``stored`` bytes in all (``plain`` without compression), ``weights`` files.

    ``waited`` are the seconds for which training waited, the copying included, ``worked`` those that the writing took beside it.
    """

    states: int = 0
    weights: int = 0
    stored: int = 0
    plain: int = 0
    waited: float = 0.0
    worked: float = 0.0


class Keeper:
    """Keeps what a run goes on from and what it has learned in ``folder``, written by a thread of its own while it trains on.

    The copy to be written is taken between two steps; the run waits only while the one before is still being written. So a run that
    is killed goes on from its last state or, where that was being written, from the one before it. Of several workers the
    first ``writes``. All is on disk once the keeper, a context, is left; an error of the last write is raised then, unless there is
    another.

    What it saves grows with the state. A checkpoint after every epoch held training up for 28 % of a 0.8 s epoch when it was
    written in turn and for 5.5 % beside (perceptron, state of 52 MB), 5.0 % and 1.5 % of 3.3 s (transformer, 57 MB), 3.7 % and
    1.6 % of 1.3 s (transformer, 2.5 MB), 2 to 5 % of 0.7 s either way (perceptron, 1 MB). Of the training thread's CPU time it
    takes 157 and 9 ms, 101 and 14, 21 and 4, 7 and 1. (``python -m benchmarks.checkpoint_cost``, two cores, busy with other
    things too.)
    """

    def __init__(self, folder: Path, keep: Keep, found: Found, *, writes: bool = True) -> None:
        self._folder, self._keep, self._writes = folder, keep, writes
        self._remark, self._damaged = found.remark, found.damaged
        self._writer, self._copies = Writer(), Copies()
        self._checked = False
        self.written = Written()

    def __enter__(self) -> Self:
        # Once, so that a folder that is removed under a run whose trial has been ended does not come back.
        if self._writes:
            made(self._folder)
        self._writer.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.__exit__(kind, error, trace)

    def between(self, run: Run, batches: Iterator[Tensors]) -> Iterator[Tensors]:
        """The batches; after every so many steps the state is kept. Raises OSError before the first where it has no room."""
        if self._writes and not self._checked:
            needed(run, self._keep).check(self._folder)
            self._checked = True
        if self._keep.steps is None:
            yield from batches
            return
        for batch in batches:
            before = run.step
            yield batch
            # The last step's state is kept by the end of its epoch.
            if before != run.step and run.step % self._keep.steps == 0 and run.tally.batches < run.plan.steps_per_epoch:
                state = run.state(within=True)
                if self._writes:
                    self._hand_over(state, {})

    def kept(self, epochs: Iterable[Epoch]) -> Generator[Epoch]:
        """The epochs, each handed over to be written before it is handed on.

        Raises OSError, naming path and way out, at the epoch after one that could not be written, and ValueError for what hooks
        have put into the history's row and no state can hold.
        """
        for epoch in epochs:
            row = epoch.run.history[-1]
            _plain(row)
            if self._remark is not None:
                row["remark"] = self._remark
                self._remark = None
            if self._writes:
                self._keep_epoch(epoch)
            yield epoch

    def _keep_epoch(self, epoch: Epoch) -> None:
        run = epoch.run
        wanted = self._keep.wanted(run.history, run.task.goal)
        # The best is written first: killed between the two, the epoch is trained again and writes the same best again.
        names = ([BEST] if epoch.improved else []) + ([named(epoch.epoch)] if epoch.epoch in wanted else [])
        weights = {name: Weights(epoch=epoch.epoch, module=run.deployed.state_dict()) for name in names}
        self._hand_over(run.state(), weights, {named(number) for number in wanted})

    def _hand_over(
        self, state: Mapping[str, Any], weights: Mapping[str, Weights], wanted: set[str] | None = None
    ) -> None:
        """Copy what is to be written and let it be written; where ``wanted`` is given, weights of other epochs are deleted then."""
        begun = time.perf_counter()
        self._writer.wait()
        # A remark goes into the history with the epoch that is under way; until then it is the state's.
        held = {name: each.module for name, each in weights.items()}
        copy = self._copies.take({"state": {**state, "remark": self._remark}, "weights": held})
        files = {name: replace(each, module=copy["weights"][name]) for name, each in weights.items()}
        self._writer.submit(partial(self._write, copy["state"], files, wanted))
        self.written.waited += time.perf_counter() - begun

    def _write(self, state: Mapping[str, Any], weights: Mapping[str, Weights], wanted: set[str] | None) -> None:
        begun, written = time.perf_counter(), self.written
        self._copies.wait()
        for name, each in weights.items():
            save_weights(self._folder / name, each)
        # A damaged state never takes the place of the good one before it.
        before = None if self._damaged else self._folder / BEFORE
        size = save(self._folder / LAST, state, compress=self._keep.compress, before=before)
        self._damaged = False
        if wanted is not None:
            for path in self._folder.glob(ANY):
                if path.name not in wanted:
                    path.unlink(missing_ok=True)
        written.states, written.weights = written.states + 1, written.weights + len(weights)
        written.stored, written.plain = written.stored + size.stored, written.plain + size.plain
        written.worked += time.perf_counter() - begun


def _plain(row: dict[str, Any]) -> None:
    """Numbers of numpy and torch as Python's own, in place: only those are read back from a state.

    Raises ValueError, naming the entry, for what is no number, text, list or mapping.
    """
    import numpy as np
    from torch import Tensor

    for name, value in row.items():
        if isinstance(value, np.generic) or (isinstance(value, Tensor) and value.numel() == 1):
            row[name] = value = value.item()
        if value is not None and type(value) not in (bool, int, float, str, list, dict):
            raise ValueError(
                f"the history's {name} is a {type(value).__name__}, which no checkpoint holds; put a number there: float(value)"
            )
