"""What command lines have in common: the task that one names, and errors that say where they are and where to read on."""

from __future__ import annotations

import argparse
import difflib
import importlib
import sys
import traceback
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

from trainables.errors import ConflictError
from trainables.task import Task

WRONG = 2
"""The exit status of a command that asks for what there is not."""


class Parser(argparse.ArgumentParser):
    """Errors are one line that says which option is near, and where to read on."""

    def error(self, message: str) -> NoReturn:
        _, unknown, given = message.partition("unrecognized arguments: ")
        near = [self._near(word.partition("=")[0]) for word in given.split() if unknown and word.startswith("--")]
        meant = f"; did you mean {' and '.join(filter(None, near))}?" if any(near) else ""
        self.exit(WRONG, f"{self.prog}: {message}{meant}; --help lists the options\n")

    def _near(self, word: str) -> str:
        """The option that is most like a word; nothing where none is."""
        return next(iter(difflib.get_close_matches(word, self._option_string_actions, n=1, cutoff=0.7)), "")


def reading(task: Task, data: str) -> Task:
    """The task as it reads the file ``data``. Raises ConflictError for one that reads no file."""
    settings: Any = task.data
    if not is_dataclass(settings) or "path" not in [field.name for field in fields(settings)]:
        raise ConflictError(
            f"--data {data}",
            [
                f"the data of task {task.name!r} is built in and reads no file; add --task trainables.tasks:table for a table "
                "(CSV, Parquet, JSON lines, Arrow), or a task of your own whose data has a field 'path'"
            ],
        )
    changed: Any = replace(settings, path=data)  # type: ignore[type-var]
    return replace(task, data=changed, samples=None)


def shipped() -> str:
    """The tasks that come with the product, as ``--task`` takes them."""
    from trainables import tasks

    return ", ".join(f"{tasks.__name__}:{name}" for name in tasks.__all__)


def imported(place: str) -> Task:
    """The task at ``MODULE:NAME``. Raises ConflictError, naming the way out, where there is none."""
    option = f"--task {place}"
    module, _, name = place.partition(":")
    if not (module and name):
        raise ConflictError(option, [f"write MODULE:NAME; {shipped()} come with the product"])
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        found = importlib.import_module(module)
    except Exception as error:  # whatever the user's module raises
        said = f"{type(error).__name__}: {error}; the module is looked for from {Path.cwd()}; {shipped()} come with the product"
        raise ConflictError(option, [said]) from error
    value = getattr(found, name, None)
    if not isinstance(value, Task):
        what = f"{module} has no {name!r}" if value is None else f"{name} is a {type(value).__name__}, not a Task"
        there = ", ".join(f"{module}:{key}" for key, one in vars(found).items() if isinstance(one, Task))
        ways = f"its tasks: {there}" if there else f"{module} holds no task; {shipped()} come with the product"
        raise ConflictError(option, [f"{what}; {ways}"])
    return value


def place(error: Exception) -> str:
    """Where an exception of the user's code was raised, in words."""
    frames = traceback.extract_tb(error.__traceback__)
    return f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""
