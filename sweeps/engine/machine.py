"""What a sweep ran on: hardware, versions, source."""

from __future__ import annotations

import ast
import hashlib
import importlib.metadata
import importlib.util
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    import torch

ROOT = Path(__file__).resolve().parents[2]
LIBRARIES = ("torch", "ray", "optuna", "mlflow", "numpy")


@dataclass(frozen=True, kw_only=True, slots=True)
class Machine:
    """``hardware`` in one line; ``details`` for the page; ``source`` is a hash of the code that decides a trial's numbers."""

    hardware: str
    details: Mapping[str, Any]
    versions: Mapping[str, str]
    source: str

    @classmethod
    def here(cls, script: Path | None, gpus: Sequence[str] = ()) -> Self:
        """This machine and this code; ``script`` is the sweep's own file, ``gpus`` the kinds of GPU that its trials may use."""
        cpu, cores, memory = (
            _cpu(),
            len(os.sched_getaffinity(0)),
            os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        )
        return cls(
            hardware=f"{cpu}, {cores} cores",
            details={
                "cpu": cpu,
                "cores": cores,
                "memory_bytes": memory,
                "gpus": [*gpus],
                "system": platform.platform(),
            },
            versions={"python": platform.python_version()}
            | {name: importlib.metadata.version(name) for name in LIBRARIES},
            source=source_hash(script),
        )


def source_hash(script: Path | None) -> str:
    """Twelve hexadecimal digits over the packages' text, and what the script does beside asking the question.

    The question's settings are known by themselves, and neither comments nor the layout of the script decide a number.
    """
    digest = hashlib.sha256()
    files = [path for package in ("trainables", "sweeps/engine") for path in sorted((ROOT / package).rglob("*.py"))]
    for path in files:
        digest.update(path.relative_to(ROOT).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    if script is not None and script.exists():
        digest.update(_deciding(script.read_bytes()))
    return digest.hexdigest()[:12]


def _deciding(text: bytes) -> bytes:
    """A script without the statements that make a sweep or run it, as its syntax tree is written; as it is where it has none."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError):
        return text
    tree.body = [statement for statement in tree.body if not _asks(statement)]
    return ast.dump(tree).encode()


def _asks(statement: ast.stmt) -> bool:
    if isinstance(statement, ast.If):
        return any(isinstance(part, ast.Name) and part.id == "__name__" for part in ast.walk(statement.test))
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
        return True  # a text about the script
    made = statement.value if isinstance(statement, (ast.Assign, ast.AnnAssign)) else None
    called = made.func if isinstance(made, ast.Call) else None
    return (called.id if isinstance(called, ast.Name) else getattr(called, "attr", None)) in ("Sweep", "Recipe")


def one_root() -> str | None:
    """Why the four packages do not belong together, or None: their names are generic, and another could shadow one."""
    for name in ("trainables", "analysis", "reports", "sweeps"):
        spec = importlib.util.find_spec(name)
        place = Path(spec.origin).resolve().parents[1] if spec is not None and spec.origin is not None else None
        if place != ROOT:
            where = place or "a folder that is no package"
            return (
                f"{name} comes from {where}, the rest from {ROOT}; install one of them only, or take one off PYTHONPATH"
            )
    return None


def hardware(device: torch.device) -> str:
    """What a trial on this device runs on, in one line: the GPU, or the CPU with the cores that this process may use."""
    import torch

    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{_cpu()}, {len(os.sched_getaffinity(0))} cores"


@cache
def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
