"""The sweep that a file declares, for commands that are asked about it by its file."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

from sweeps.engine.errors import QuestionError
from sweeps.engine.spec import Sweep
from trainables.asked import place


def declared(script: Path) -> Sweep:
    """The sweep in a file. Raises QuestionError where there is no file, no sweep in it, or more than one."""
    if not script.is_file():
        raise QuestionError(
            f"{script} is not a file; the first argument is the sweep's own, such as sweeps/batch_size.py"
        )
    folder = str(script.resolve().parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    name = f"question_{script.stem}"
    spec = importlib.util.spec_from_file_location(name, script)
    if spec is None or spec.loader is None:
        raise QuestionError(
            f"{script} is not a Python file; the first argument is the sweep's own, such as sweeps/batch_size.py"
        )
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # whatever the user's file raises
        raise QuestionError(f"{script} raises {type(error).__name__}: {error}{place(error)}") from error
    found = [value for value in vars(module).values() if isinstance(value, Sweep)]
    if len(found) != 1:
        raise QuestionError(f"{script} declares {len(found)} sweeps by name; it must have one, as in sweep = Sweep(…)")
    return found[0]
