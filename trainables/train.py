"""A whole run: the loop with checkpoints, early stopping and reports, from start or from where it was."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from trainables.batches import unchanged
from trainables.checkpoints import Found, Keeper, Written, found, tidied
from trainables.course import WHOLE, Course, followed
from trainables.fit import Epoch
from trainables.hooks import hooked
from trainables.keep import Keep
from trainables.profiler.profiler import Profiler, Untimed
from trainables.recipe import Recipe
from trainables.steps import STEPS, StepLog
from trainables.stopping import early_stopped
from trainables.task import Maximise, Minimise, Splits, Task
from trainables.world import World

if TYPE_CHECKING:
    from trainables.batches import Through
    from trainables.profiler import Profile, Profiled
    from trainables.run import Run
    from trainables.task import Tensors

DEFAULT = Keep()
"""The last state and the one before it, and the weights of the best epoch."""

Report = Callable[[Sequence[Mapping[str, Any]]], bool]
"""Called in every worker after each epoch with the history so far, newest row last; True from the first asks the run to stop."""


class Ending(StrEnum):
    """How a run came to its end."""

    COMPLETED = "completed"
    STOPPED = "stopped"
    DIVERGED = "diverged"


@dataclass(frozen=True, kw_only=True, slots=True)
class Trained:
    """A run that has ended: why, and its history. ``best_epoch`` is the first at the best validation value, None without one.

    ``written`` is what this worker has put on disk. ``profiled`` is where the time went, if that was asked.
    """

    ending: Ending
    reason: str | None
    history: Sequence[Mapping[str, Any]]
    best_epoch: int | None
    written: Written = field(default_factory=Written, compare=False)
    profiled: Profiled | None = field(default=None, compare=False)


def train(
    task: Task,
    recipe: Recipe,
    *,
    folder: Path,
    report: Report,
    splits: Splits[Any] | None = None,
    device: str | torch.device = "cpu",
    world: World | None = None,
    course: Course = WHOLE,
    keep: Keep = DEFAULT,
    through: Through = unchanged,
    log_every: int | None = None,
    log_into: Path | None = None,
    profile: Profile | None = None,
    trace: Path | None = None,
    tested: bool = True,
) -> Trained:
    """Run to the end, or until ``report`` asks to stop; checkpoints lie in ``folder``, from which the same call goes on.

    An epoch is reported while it is being written; all is on disk once this returns, of several workers in the first. What
    ``keep`` asks for changes nothing that is learned. A run that had to go on from another state than its last says so as
    ``remark`` in the history. ``course`` is for runs whose settings change on the way; one that leaves off before the recipe's last
    epoch counts as stopped. Training batches go ``through`` a transform, as in ``fit``. ``log_every`` writes loss and learning rate
    after so many steps into ``steps.jsonl``, in ``log_into`` or else in ``folder``. ``profile`` times it by phase, and writes what
    it asks to ``trace``. Without ``tested`` the test set is never looked at. A run that had already ended when its process died
    reports nothing and gives its result again. Of several workers, each with its ``world``, the first one reads and writes, and its
    report is asked; all end together and return the same.
    """
    world = world or World()
    begun = world.told(_begun(folder, course) if world.first else Found())
    history: Sequence[Mapping[str, Any]] = begun.state["history"] if begun.state is not None else ()
    ending = ending_of(task, recipe, course, history)
    keeper = Keeper(folder, keep, begun, writes=world.first)
    within = StepLog((log_into or folder) / STEPS, log_every).through if log_every is not None else unchanged
    timed = _timed(profile, trace, device, keep, world)

    def handed(run: Run, batches: Iterator[Tensors]) -> Iterator[Tensors]:
        return through(run, within(run, keeper.between(run, batches)))

    if ending is None:
        segments = course.segments(recipe)
        fitted = followed(
            task,
            segments,
            splits=splits,
            device=device,
            state=begun.state,
            world=world,
            through=timed.around(handed),
            tested=tested,
        )
        ended = hooked(early_stopped(timed.validated(fitted), recipe.stop), recipe.hooks)
        epochs = timed.whole(keeper.kept(timed.handed_over(ended)))
        # Each by itself: an exception on its way holds this frame, and with it what a hook is to end with.
        with keeper, closing(fitted), closing(ended), closing(epochs):
            for epoch in epochs:
                history = epoch.run.history
                ending = _judged(epoch, report)
                if ending is not None:
                    break
            else:
                ending = ending_of(task, recipe, course, history)
    kind, reason = ending or (Ending.COMPLETED, None)
    best = best_epoch(history, task.goal)
    profiled = timed.profiled(world)
    return Trained(
        ending=kind, reason=reason, history=history, best_epoch=best, written=keeper.written, profiled=profiled
    )


def best_epoch(history: Sequence[Mapping[str, Any]], goal: Maximise | Minimise) -> int | None:
    """The first epoch at the best validation value; None where no epoch has a finite one."""
    best: tuple[float, int] | None = None
    for row in history:
        value = row.get(f"val/{goal.metric}")
        if value is not None and math.isfinite(value) and (best is None or goal.better(value, best[0])):
            best = (value, row["epoch"])
    return best[1] if best is not None else None


def _timed(
    profile: Profile | None, trace: Path | None, device: str | torch.device, keep: Keep, world: World
) -> Profiler | Untimed:
    """What times the run; of several workers the first one writes a trace."""
    if profile is None:
        return Untimed()
    return Profiler(profile, torch.device(device), trace=trace if world.first else None, every=keep.steps)


def _begun(folder: Path, course: Course) -> Found:
    """The state to go on from: the run's own, else that of the run it begins from."""
    tidied(folder)
    own = found(folder)
    if own.state is not None or course.begin is None:
        return own
    try:
        other = found(course.begin)
    except ValueError as error:
        return Found(remark=f"what it was to go on from cannot be used ({error}); its epochs were trained anew")
    return replace(other, remark=other.remark or own.remark, damaged=own.damaged)


def _judged(epoch: Epoch, report: Report) -> tuple[Ending, str | None] | None:
    """The ending that this epoch brings, or None when the run goes on."""
    history = epoch.run.history
    bad = _not_finite(history[-1], epoch.run.task.goal)
    asked = epoch.run.world.told(report(history))
    if bad is not None:
        return Ending.DIVERGED, bad
    if asked and epoch.epoch < epoch.run.recipe.epochs:
        return Ending.STOPPED, f"stopped after epoch {epoch.epoch}"
    return None


def ending_of(
    task: Task, recipe: Recipe, course: Course, history: Sequence[Mapping[str, Any]]
) -> tuple[Ending, str | None] | None:
    """The ending that a history already holds, or None when there is more to train."""
    if not history:
        return None
    bad = _not_finite(history[-1], task.goal)
    if bad is not None:
        return Ending.DIVERGED, bad
    if len(history) >= recipe.epochs:
        return Ending.COMPLETED, None
    if recipe.stop is not None and recipe.stop.exhausted(history, task.goal):
        unit = "epochs" if all("val/loss" in row for row in history) else "validated epochs"
        return Ending.COMPLETED, f"no improvement in {recipe.stop.patience} {unit}"
    if len(history) >= course.last(recipe):
        return Ending.STOPPED, f"its segment ends at epoch {course.last(recipe)}"
    return None


def _not_finite(row: Mapping[str, Any], goal: Maximise | Minimise) -> str | None:
    for name in ("train/loss", "val/loss", f"val/{goal.metric}"):
        if not math.isfinite(row.get(name, 0.0)):  # an epoch without validation has but the first
            return f"{name} is {row[name]} at epoch {row['epoch']}"
    return None
