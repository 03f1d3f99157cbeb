"""What stands beside a figure: machine, versions, command; and what the benchmarks' commands have in common."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]


def environment() -> dict[str, str]:
    """The same for every process that is measured: nothing of Ray's that the user has set, one thread, no GPU."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "TUNE_", "MLFLOW_"))}
    path = os.pathsep.join(filter(None, [str(ROOT), kept.get("PYTHONPATH")]))
    return kept | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}


def apart(module: str, call: str, settings: Mapping[str, str]) -> dict[str, float]:
    """What a call of a function of ``module`` gives in a process of its own, with these ``settings`` of the environment.

    Raises SystemExit, with the end of what it said, when it fails.
    """
    name = call.partition("(")[0]
    code = f"import json; from {module} import {name}; found = {call}; print('\\n' + json.dumps(found))"
    done = subprocess.run(
        [sys.executable, "-c", code], env=dict(settings), cwd=ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise SystemExit(f"{call} ended with status {done.returncode}:\n{done.stderr[-3000:]}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def machine(loads: Sequence[float]) -> dict[str, Any]:
    """Where this runs; ``load`` is what else was going on: the greatest load average before a run, whose own trace is in it."""
    from sweeps.engine.machine import Machine

    details = Machine.here(None).details
    named = ("cpu", "cores", "memory_bytes", "system")
    return {name: details[name] for name in named} | {"load": max(loads, default=None)}


def versions(libraries: Iterable[str]) -> dict[str, str]:
    """Python's version, and those of the libraries that are installed."""
    found = {name: importlib.metadata.version(name) for name in libraries if importlib.util.find_spec(name) is not None}
    return {"python": platform.python_version()} | found


def invocation(module: str, given: Sequence[str]) -> str:
    """The command as it would be typed."""
    return shlex.join(["python", "-m", module, *given])


def under(where: Mapping[str, Any], versions: Mapping[str, str]) -> str:
    """Machine and versions as the line below a table."""
    named = ", ".join(f"{name} {version}" for name, version in versions.items())
    gpu = f"{where['gpu']}, " if "gpu" in where else ""
    return f"{gpu}{where['cpu']}, {where['cores']} cores, load up to {where['load']:.1f}; {named}"


def cell(spread: Mapping[str, Any]) -> str:
    """A spread in a table: the median, and the least and the greatest where there are several."""
    if len(spread["rounds"]) == 1:
        return f"{spread['median']:.3g}"
    return f"{spread['median']:.3g} ({spread['min']:.3g} to {spread['max']:.3g})"


def natural(text: str) -> int:
    """A whole number from 1, for argparse. Raises ValueError for another."""
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


def say(text: str) -> None:
    """A line beside the result."""
    print(text, file=sys.stderr, flush=True)
