"""The options that every sweep takes, and what they change in the question."""

from __future__ import annotations

import argparse
import os
import platform
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sweeps.engine import space
from sweeps.engine.errors import QuestionError
from sweeps.engine.spec import LANES, Sweep
from trainables import Task
from trainables.asked import Parser, imported, reading, shipped
from trainables.misfits import plainly

QUICK_TRIALS, QUICK_SEEDS, QUICK_EPOCHS = 4, 6, 5
"""What ``--quick`` cuts a sweep down to: every part of it works, and six seeds are the fewest that can tell levels apart."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """The command line, read."""

    dry_run: bool
    quick: bool
    fresh: bool
    runs: Path
    tracking_uri: str | None
    task: str | None
    data: str | None
    workers: int | None
    lane: str | None
    trials: int | None
    epochs: int | None
    seeds: int | None
    budget: float | None

    def question(self, sweep: Sweep) -> Sweep:
        """The sweep as these options change it. Raises QuestionError, or ConflictError of a task, for what cannot be followed."""
        task = self._task(sweep.task)
        if self.quick:
            sweep = _quick(sweep)
        if self.epochs is not None:
            sweep = _lasting(sweep, self.epochs)
        changes: dict[str, Any] = {"task": task, "name": self._name(sweep, task)}
        if self.trials is not None:
            changes["search"] = self._search(sweep, self.trials)
        if self.workers is not None:
            changes["resources"] = replace(sweep.resources, workers=self._workers(sweep, self.workers))
        if self.seeds is not None:
            changes["seeds"] = self.seeds
        if self.lane is not None:
            changes["lane"] = self.lane
        if self.budget is not None:
            if sweep.search is None:
                raise QuestionError(
                    "--budget closes searches, and this sweep has nothing to search; leave the option out"
                )
            changes["budget_seconds"] = self.budget
        return plainly(replace(sweep, **changes))

    def _search(self, sweep: Sweep, trials: int) -> Any:
        """The sweep's search with so many trials a level."""
        search = sweep.search
        if search is None:
            raise QuestionError(f"--trials {trials}: this sweep has nothing to search; leave the option out")
        if isinstance(search, space.Hole):
            return search  # which the sweep's check refuses, in words
        if isinstance(search.trials, space.Hole):
            raise QuestionError(
                f"--trials {trials}: this sweep compares numbers of trials, {space.describe(search.trials)}; "
                "leave the option out, or change the file"
            )
        return replace(search, trials=trials)  # type: ignore[type-var]

    def _workers(self, sweep: Sweep, most: int) -> int:
        """This many workers a trial; a sweep that compares numbers of workers takes 1, 2, 4, … up to it."""
        if not sweep.compares_workers:
            return most
        counts: list[int] = [2**power for power in range(most.bit_length())]
        return space.each(*dict.fromkeys([*counts, most]))

    def _task(self, task: Task) -> Task:
        if self.task is not None:
            task = imported(self.task)
        if self.data is None:
            return task
        task = reading(task, self.data)
        if "://" not in self.data and not Path(self.data).exists():
            raise QuestionError(
                f"--data {self.data} does not exist on {platform.node()}, where this command runs in {Path.cwd()}; "
                "under `ray submit` that is the head of the cluster: put the file into the shared storage and give its whole path"
            )
        return task

    def _name(self, sweep: Sweep, task: Task) -> str:
        """A question of its own has a folder of its own: another task, other data, the quick form."""
        parts = [sweep.name]
        if task.name != sweep.task.name:
            parts.append(task.name)
        if self.data is not None:
            parts.append(Path(self.data).stem)
        if self.quick:
            parts.append("quick")
        return "-".join(parts)


def read(argv: Sequence[str], *, program: str, description: str | None) -> Options:
    """Read a command line. Exits with status 2 for an option that is not known, and with 0 after ``--help``."""
    parser = Parser(
        prog=program,
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="Exit status: 0 answered; 1 answered, but trials failed or a final was lost; 2 the question is wrong, "
        "nothing was started;\n3 interrupted, run the same command again to go on.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="say what would be run and about how long, start nothing"
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help=f"a short form: {QUICK_TRIALS} trials a level, {QUICK_SEEDS} seeds, {QUICK_EPOCHS} epochs, in a folder of its own",
    )
    parser.add_argument("--fresh", action="store_true", help="move an earlier run of this sweep aside and start anew")
    parser.add_argument(
        "--runs",
        type=Path,
        default=Path(os.environ.get("REGATTA_RUNS") or "runs"),
        metavar="DIR",
        help="where results go (default: what REGATTA_RUNS names, else runs)",
    )
    parser.add_argument("--tracking-uri", metavar="URI", help="MLflow server or store (default: sqlite, mlflow.db)")
    parser.add_argument(
        "--task", metavar="MODULE:NAME", help=f"another task: {shipped()}, or one of your own, such as mine:task"
    )
    parser.add_argument("--data", metavar="PATH", help="the file that the task reads")
    parser.add_argument(
        "--workers", type=natural, metavar="N", help="workers of one trial (default: as the sweep says)"
    )
    parser.add_argument("--lane", choices=LANES, help="how trials are executed (default: as the sweep says)")
    parser.add_argument("--trials", type=natural, metavar="N", help="heats for each level")
    parser.add_argument("--epochs", type=natural, metavar="N", help="epochs of every trial")
    parser.add_argument("--seeds", type=natural, metavar="N", help="finals for each level")
    parser.add_argument(
        "--budget",
        type=duration,
        metavar="TIME",
        help="wall time with its unit, such as 90s, 10m or 2h30m; closes the searches in time for the finals",
    )
    return Options(**vars(parser.parse_args(argv)))


def duration(text: str) -> float:
    """Seconds of ``90s``, ``10m``, ``1.5h`` or ``2h30m``.

    Raises argparse.ArgumentTypeError for anything else, also for a number without its unit: 10 could be seconds or minutes.
    """
    number = r"(\d+(?:\.\d+)?)"
    matched = re.fullmatch(rf"(?:{number}h)?(?:{number}m)?(?:{number}s)?", text.strip().lower())
    hours, minutes, seconds = (
        (float(part or 0) for part in matched.groups()) if matched is not None else (0.0, 0.0, 0.0)
    )
    total = 3600 * hours + 60 * minutes + seconds
    if total > 0:
        return total
    if re.fullmatch(number, text.strip()) and float(text) > 0:
        plain = text.strip()
        raise argparse.ArgumentTypeError(f"{text!r} has no unit; write {plain}s, {plain}m or {plain}h")
    raise argparse.ArgumentTypeError(f"{text!r} is not a time above zero with its units; write 90s, 10m or 2h30m")


def _quick(sweep: Sweep) -> Sweep:
    changes: dict[str, Any] = {"seeds": min(sweep.seeds, QUICK_SEEDS)}
    if isinstance(sweep.recipe.epochs, int) and sweep.recipe.epochs > QUICK_EPOCHS:
        sweep = _lasting(sweep, QUICK_EPOCHS)
    search = sweep.search
    # Numbers of trials that are compared are the question; a search that is itself an each() is refused by the sweep's check.
    if search is not None and not isinstance(search, space.Hole) and isinstance(search.trials, int):
        changes["search"] = replace(search, trials=min(search.trials, QUICK_TRIALS))  # type: ignore[type-var]
    return replace(sweep, **changes)


def _lasting(sweep: Sweep, epochs: int) -> Sweep:
    """The sweep with trials of so many epochs; early stopping that would begin later begins at the last one."""
    early_stop = sweep.early_stop
    if early_stop is not None and isinstance(early_stop.grace, int):  # anything else is refused by the sweep's check
        early_stop = replace(early_stop, grace=min(early_stop.grace, epochs))
    return replace(sweep, recipe=replace(sweep.recipe, epochs=epochs), early_stop=early_stop)


def natural(text: str) -> int:
    """A whole number from 1. Raises argparse.ArgumentTypeError for anything else."""
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1")
    return number
