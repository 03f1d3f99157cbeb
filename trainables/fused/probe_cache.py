"""What was found out about packs on this machine, kept in the user's cache folder."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from trainables.fused.built import shapes
from trainables.fused.structure import structure

if TYPE_CHECKING:
    import torch

    from trainables.run import Run

FORMAT = 6
"""Counted up when what is measured, or how, changes: what was kept before is then measured again."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Cache:
    """One file for each key in ``folder``: whole or not there, whoever else writes; one that is no such file is as none."""

    folder: Path

    @classmethod
    def usual(cls) -> Self:
        """Under ``$XDG_CACHE_HOME``, or ``~/.cache``."""
        base = os.environ.get("XDG_CACHE_HOME")
        return cls(folder=(Path(base) if base else Path("~/.cache").expanduser()) / "regatta" / "packs")

    def get(self, key: str) -> dict[int, float] | None:
        """The gains by size that were kept under this key; None where there are none."""
        try:
            kept = json.loads(self._path(key).read_text(encoding="utf-8"))
            gains = {int(size): gain for size, gain in kept["gains"].items()} if kept["key"] == key else None
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None
        sound = gains and all(size > 1 and type(gain) is float and 0 <= gain < 1e6 for size, gain in gains.items())
        return gains if sound else None

    def put(self, key: str, gains: Mapping[int, float]) -> None:
        """Keep them; where nothing can be written they are measured again the next time."""
        text = json.dumps({"key": key, "gains": {str(size): gain for size, gain in gains.items()}}, indent=1)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            descriptor, name = tempfile.mkstemp(dir=self.folder, prefix=".", suffix=".part")
            temporary = Path(name)
            try:
                with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                    file.write(text)
                temporary.replace(self._path(key))
            finally:
                temporary.unlink(missing_ok=True)
        except OSError:
            return

    def _path(self, key: str) -> Path:
        return self.folder / f"{hashlib.sha256(key.encode()).hexdigest()[:24]}.json"


def key_of(run: Run, sizes: Sequence[int]) -> str:
    """What gains depend on, as text: structure, shapes of data and parameters, the sizes that are tried, and where."""
    parts = {
        "format": FORMAT,
        "structure": structure(run.task, run.recipe),
        "shapes": shapes(run),
        "parameters": {name: [*parameter.shape] for name, parameter in run.module.named_parameters()},
        "sizes": [*sizes],
        "machine": _machine(run.device),
    }
    return json.dumps(parts, sort_keys=True, default=list)


def _machine(device: torch.device) -> dict[str, Any]:
    """Where it is measured, and with what."""
    import torch

    return {
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def _processor() -> str:
    """The processor's name as Linux has it; elsewhere Python's, which may be empty."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
