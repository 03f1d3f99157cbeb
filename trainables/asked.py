"""The task that a command line names."""

from __future__ import annotations

import importlib
import sys
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

from trainables.errors import ConflictError
from trainables.task import Task


def asked_task(place: str | None = None, data: str | None = None) -> Task:
    """The task at ``MODULE:NAME`` (None: the digits), which reads the file ``data`` where one is given.

    Raises ConflictError, naming the option ``--task`` or ``--data`` and the way out, for what is no task or reads no file.
    """
    from trainables import tasks

    task = tasks.digits if place is None else _imported(place)
    if data is None:
        return task
    settings: Any = task.data
    if not is_dataclass(settings) or "path" not in [field.name for field in fields(settings)]:
        raise ConflictError(
            f"--data {data}",
            [
                f"the data of task {task.name!r} is built in and reads no file; add --task trainables.tasks:table for a table, or "
                "name a task of your own whose data has a field 'path'"
            ],
        )
    reading: Any = replace(settings, path=data)  # type: ignore[type-var]
    return replace(task, data=reading, samples=None)


def shipped() -> str:
    """The tasks that come with the product, as ``--task`` takes them."""
    from trainables import tasks

    return ", ".join(f"{tasks.__name__}:{name}" for name in tasks.__all__)


def _imported(place: str) -> Task:
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
