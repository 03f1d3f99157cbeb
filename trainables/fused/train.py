"""Whole runs, several at once, from start or from where they were: what ``train`` is for one."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from trainables.checkpoints import found, tidied
from trainables.checkpoints.files import DamagedError, made
from trainables.checkpoints.needed import needed
from trainables.course import WHOLE
from trainables.fused.pack import Pack
from trainables.fused.program import Program
from trainables.fused.states import States
from trainables.fused.varied import common
from trainables.keep import Keep
from trainables.preparing import Prepare, prepare
from trainables.run import Run
from trainables.telemetry import Meter
from trainables.train import Ending, Trained, best_epoch, ending_of

if TYPE_CHECKING:
    from trainables.fit import Epoch
    from trainables.recipe import Recipe
    from trainables.task import Splits, Task

Report = Callable[[Mapping[str, Sequence[Mapping[str, Any]]]], Collection[str]]
"""Called after each epoch with the histories of all members that are left, newest row last; those it names are stopped."""

Ended = Callable[[str, Trained], None]
"""Called for each member, once, when it has ended."""

Joined = Callable[[], Collection[str]]
"""Called when members have ended, each time: it may put others in their places, and names them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Member:
    """A run of a pack under its ``name``: its files lie in ``folder``; its ``best`` weights are kept, where that is wanted.

    ``tested`` as in ``train``.
    """

    name: str
    recipe: Recipe
    folder: Path
    splits: Splits[Any]
    best: bool = True
    tested: bool = True

    def run(self, task: Task, device: torch.device, prepare: Prepare = prepare) -> Run:
        """The run as it stands on disk, its data as ``prepare`` makes or holds it.

        Raises ConflictError when it cannot be trained, and DamagedError where its last state is of no use: ``train`` knows what to
        do then.
        """
        tidied(self.folder)
        begun = found(self.folder)
        if begun.damaged:
            raise DamagedError(begun.remark)
        run = Run.start(task, self.recipe, splits=self.splits, device=device, tested=self.tested, prepare=prepare)
        if begun.state is not None:
            run.load(begun.state)
        if begun.remark is not None and run.history:
            run.history[-1]["remark"] = begun.remark
        return run


def train_together(
    task: Task,
    runs: MutableMapping[str, Run],
    members: Mapping[str, Member],
    *,
    report: Report,
    ended: Ended,
    joined: Joined = tuple,
    program: Program | None = None,
    kept: Callable[[], States] = States,
) -> None:
    """Train runs of one structure to their ends, or until ``report`` stops them; what has ended is ``ended`` at once.

    ``runs`` are the members' own, as ``Member.run`` gives them, by the members' names; each is taken out when it has ended, since
    it holds on to the rows of its whole pack. Runs that leave make room: ``joined`` may add others of the same structure, at any
    epoch of theirs, to ``runs``, and their members to ``members``; else those that are left are trained on as a smaller pack.
    ``program`` is one that earlier packs have left: where it fits, what it has recorded need not be recorded again. ``kept`` makes
    what keeps them. Best weights are on disk before a run is ``ended``. Raises OSError, naming path and way out, for what could not
    be written.
    """
    _begun(task, runs, members, tuple(runs), ended)
    if not runs:
        return
    program = program_for(_first(runs), program)
    meter = Meter(_first(runs).device)
    with kept() as states:
        needed(_first(runs), Keep()).check(members[next(iter(runs))].folder)
        while runs:
            # No name holds the pack: its tensors are gone when others join, and the next one is built.
            over = _until_one_ends(task, Pack(list(runs.values()), program, meter), runs, members, states, report)
            states.ended([members[name].folder for name in over])
            for name, ending in over.items():
                ended(name, _trained(runs.pop(name), *ending))
            _begun(task, runs, members, joined(), ended)


def _begun(
    task: Task, runs: MutableMapping[str, Run], members: Mapping[str, Member], names: Iterable[str], ended: Ended
) -> None:
    """Make the folders of runs that begin; those are ``ended`` that had come to their ends before."""
    for name in names:
        ending = ending_of(task, runs[name].recipe, WHOLE, runs[name].history)
        if ending is not None:
            ended(name, _trained(runs.pop(name), *ending))
        else:
            # Once, so that a folder that is removed under a run whose trial has been ended does not come back.
            made(members[name].folder)


def _first(runs: Mapping[str, Run]) -> Run:
    return next(iter(runs.values()))


def program_for(run: Run, before: Program | None = None) -> Program:
    """A program for packs of runs like this one: the one ``before``, where it fits."""
    loss = common(run.loss)
    if before is not None and before.fits(run.module, loss):
        return before
    return Program(run.module, loss, run.recipe.precision, run.device)


def _until_one_ends(
    task: Task,
    pack: Pack,
    runs: Mapping[str, Run],
    members: Mapping[str, Member],
    states: States,
    report: Report,
) -> dict[str, tuple[Ending, str | None]]:
    """Train a pack epoch by epoch; the runs that end first, with their endings."""
    while True:
        epochs = dict(zip(runs, pack.epoch(), strict=True))
        for name, epoch in epochs.items():
            if epoch.improved and members[name].best:
                states.improved(members[name].folder, epoch.run)
        stopped = report({name: run.history for name, run in runs.items()})
        endings = {name: _ending(task, epoch, name in stopped) for name, epoch in epochs.items()}
        states.keep({members[name].folder: runs[name] for name, ending in endings.items() if ending is None})
        over = {name: ending for name, ending in endings.items() if ending is not None}
        if over:
            return over


def _ending(task: Task, epoch: Epoch, asked: bool) -> tuple[Ending, str | None] | None:
    """The ending that this epoch brings to a run, or None when it goes on; in the order in which ``train`` asks."""
    found = ending_of(task, epoch.run.recipe, WHOLE, epoch.run.history)
    if found is not None and found[0] is Ending.DIVERGED:
        return found
    if asked and epoch.epoch < epoch.run.recipe.epochs:
        return Ending.STOPPED, f"stopped after epoch {epoch.epoch}"
    return found


def _trained(run: Run, ending: Ending, reason: str | None) -> Trained:
    return Trained(ending=ending, reason=reason, history=run.history, best_epoch=best_epoch(run.history, run.task.goal))
