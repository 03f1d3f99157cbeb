"""What a sweep ran on: hardware, versions, source."""

from __future__ import annotations

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
    """Twelve hexadecimal digits over the packages' and the script's text."""
    digest = hashlib.sha256()
    files = [path for package in ("trainables", "sweeps/engine") for path in sorted((ROOT / package).rglob("*.py"))]
    for path in files:
        digest.update(path.relative_to(ROOT).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    if script is not None and script.exists():
        digest.update(script.read_bytes())
    return digest.hexdigest()[:12]


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
