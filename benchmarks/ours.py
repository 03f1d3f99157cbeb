"""The same trial by the product: a sweep through its lanes, as the command of a sweep runs it.

With the rehearsal, the nodes' agreement, table, MLflow and watchdog; without the plan before and the page after.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.trial import HIGHEST_LR, LOWEST_LR, SMALL, USUAL, Outcome, Trial, marked

if TYPE_CHECKING:
    from analysis.records import TrialRecord
    from analysis.tracking import Tracker
    from sweeps import Sweep
    from sweeps.engine.race import Follower


KEPT_EPOCHS = 20
"""Of trials that hardly train."""


def lane(trials: int, marks: Path, scratch: Path, *, name: str, workers: int = 1) -> None:
    """A search of ``trials - 1`` heats over the learning rate, and one final, one trial at a time."""
    from sweeps import TPE

    raced(_sweep(search=TPE(trials=trials - 1), lane=name, workers=workers), marks, scratch, trials=trials)


def packs(trials: int, marks: Path, scratch: Path, *, size: int, tracked: bool) -> None:
    """The same with small perceptrons in the lane of packs, each worker's pack the probe's choice; the search draws at random."""
    from dataclasses import replace

    from sweeps import Random
    from trainables.models import MLP

    sweep = _sweep(search=Random(trials=trials - 1), lane="fused", workers=1)
    model = MLP(widths=(SMALL.width, SMALL.width))
    recipe = replace(sweep.recipe, model=model, batch_size=SMALL.batch, epochs=SMALL.epochs)
    raced(replace(sweep, recipe=recipe), marks, scratch, trials=trials, tracked=tracked, first=size, kind=SMALL)


def empty(trials: int, marks: Path, scratch: Path, *, tracked: bool) -> None:
    """Trials that hardly train, one epoch of four samples, so that what is left is the driver."""
    from dataclasses import replace

    from sweeps import Random
    from trainables.models import MLP

    sweep = _sweep(search=Random(trials=trials - 1), lane="solo", workers=1)
    task = replace(sweep.task, name="four", data=four, samples=4)
    recipe = replace(sweep.recipe, model=MLP(widths=(2,)), batch_size=4, epochs=1)
    raced(replace(sweep, task=task, recipe=recipe), marks, scratch, trials=trials, tracked=tracked)


def kept(trials: int, marks: Path, scratch: Path, *, tracked: bool) -> None:
    """Packs of trials that hardly train but have twenty epochs to tell of, so that what is left is what writes them down."""
    from dataclasses import replace

    from sweeps import Random
    from trainables.models import MLP

    sweep = _sweep(search=Random(trials=trials - 1), lane="fused", workers=1)
    task = replace(sweep.task, name="four", data=four, samples=4)
    recipe = replace(sweep.recipe, model=MLP(widths=(2,)), batch_size=4, epochs=KEPT_EPOCHS)
    raced(replace(sweep, task=task, recipe=recipe, timed=0), marks, scratch, trials=trials, tracked=tracked)


def four(seed: int) -> Any:
    """Four samples for each use."""
    import torch

    from trainables import Splits

    inputs, target = torch.eye(4) + seed, torch.tensor([0, 1, 0, 1])
    return Splits(train=(inputs, target), val=(inputs, target), test=(inputs, target))


def _sweep(*, search: Any, lane: str, workers: int) -> Sweep:
    from sweeps import Resources, Sweep, log_uniform
    from trainables import AdamW, Recipe
    from trainables.models import MLP
    from trainables.tasks import digits

    return Sweep(
        name="trial_cost",
        task=digits,
        recipe=Recipe(
            model=MLP(widths=(USUAL.width, USUAL.width)),
            batch_size=USUAL.batch,
            optimizer=AdamW(lr=log_uniform(LOWEST_LR, HIGHEST_LR), decay_vectors=True),  # as torch does
            epochs=USUAL.epochs,
        ),
        search=search,
        seeds=1,
        resources=Resources(workers=workers, cpus=1, gpus=0.0),
        lane=lane,
    )


class Marker:
    """Follows a sweep and marks each trial's end; at the ``first`` and the last one all that MLflow is owed is written before."""

    def __init__(self, marks: Path, tracker: Tracker | None, trials: int, *, first: int, kind: Trial) -> None:
        self._marks, self._tracker, self._trials, self._first, self._kind = marks, tracker, trials, first, kind
        self._ended = 0

    def started(self, record: TrialRecord) -> None:
        """Nothing to mark."""

    def reported(self, record_id: str, row: Mapping[str, Any]) -> None:
        """Nothing to mark."""

    def ended(self, record: TrialRecord) -> None:
        """A trial has ended. Raises RuntimeError for one that was not completed: its cost would mislead."""
        if record.status != "completed":
            raise RuntimeError(f"trial {record.id} has {record.status.value}: {record.reason}\n{record.error}")
        self._ended += 1
        if self._tracker is not None and self._ended in (self._first, self._trials):
            self._tracker.links()  # comes back when all is written
        last = record.history[-1]
        outcome = Outcome(
            lr=float(record.point["optimizer.lr"] or 0.0),
            seed=record.seed,
            steps=record.steps,
            train_loss=last["train/loss"],
            val_loss=last["val/loss"],
            trial=self._kind,
        )
        marked(self._marks, outcome)


def raced(
    sweep: Sweep,
    marks: Path,
    scratch: Path,
    *,
    trials: int,
    tracked: bool = True,
    first: int = 1,
    kind: Trial = USUAL,
) -> None:
    """What ``sweeps.main`` does with a sweep from its checks to its last final, but one trial at a time."""
    from analysis.ledger import read_question
    from analysis.tracking import Tracker, check
    from reports.live_table import LiveTable
    from sweeps.engine import cluster, nodes, question
    from sweeps.engine.drive import drive
    from sweeps.engine.lanes import solo
    from sweeps.engine.machine import Machine
    from sweeps.engine.rehearsal import rehearse
    from sweeps.engine.room import room
    from sweeps.engine.watchdog import Watchdog
    from trainables.heap import give_back, settle

    gc.disable()
    sweep.check()
    room(sweep)
    rehearse(sweep)
    folder = scratch / sweep.name
    folder.mkdir(parents=True)
    machine = Machine.here(None)
    question.store(folder, question.described(sweep, machine, lane=sweep.lane, concurrency=1, created=time.time()))
    tracker = None
    if tracked:
        import mlflow  # noqa: F401  a fixed cost, which would else come after the first trial

        uri = f"sqlite:///{scratch / 'mlflow.db'}"
        check(uri)
        tracker = Tracker(uri=uri, question=read_question(folder))
    solo.start(sweep.resources)
    nodes.agree(folder, question.files(sweep))
    settle()
    give_back()
    gc.enable()
    table = LiveTable(
        levels=["trial_cost"],
        heats=[sweep.trials],
        seeds=sweep.seeds,
        epochs=sweep.recipe.epochs,
        metric=sweep.task.goal.metric,
        mode=sweep.task.goal.mode,
    )
    answers = partial(cluster.answers, cluster.address())
    watchdog = Watchdog(lane=sweep.lane, say=table.note, look=cluster.scene, answers=answers, growth=cluster.could())
    followers: list[Follower] = [table, *([tracker] if tracker is not None else []), watchdog]
    followers.append(Marker(marks, tracker, trials, first=first, kind=kind))
    try:
        with table, watchdog:
            drive(sweep, folder, lane=sweep.lane, concurrency=1, machine=machine, followers=followers)
    finally:
        if tracker is not None:
            tracker.close()
        solo.stop()
