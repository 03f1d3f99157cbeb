"""A GPU for processes that have none, by name: what runs on it is told from what runs on the CPU, and computed there."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sysconfig
from pathlib import Path

import torch

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
TORCH = Path(torch.__file__).parent
FLAGS = ("-O1", "-std=c++20", "-fPIC", "-shared", "-w", f"-I{TORCH / 'include'}")
LINKED = (f"-L{TORCH / 'lib'}", "-ltorch", "-ltorch_cpu", "-lc10", f"-Wl,-rpath,{TORCH / 'lib'}")


def compiler() -> str | None:
    """Of C++, where there is one."""
    return shutil.which(os.environ.get("CXX", "g++"))


def environment(folder: Path) -> dict[str, str]:
    """What a process's environment holds for torch to find a GPU; with a real one, what it holds anyway.

    What has to be compiled is kept in ``folder``, which takes half a minute. Raises CalledProcessError where it cannot be.
    """
    plain = {**os.environ, "PYTHONPATH": str(ROOT)}
    if torch.cuda.is_available():
        return plain
    backend, accelerator = _built("backend.cpp", folder), _built("accelerator.cpp", folder)
    return {
        **plain,
        "PYTHONPATH": os.pathsep.join([str(HERE / "site"), str(ROOT)]),
        "LD_PRELOAD": str(accelerator),
        "STAND_IN_BACKEND": str(backend),
        "RAY_OVERRIDE_RESOURCES": '{"GPU": 1}',
    }


def _built(name: str, folder: Path) -> Path:
    """A source as a library that can be loaded; one that was built before is taken."""
    source = HERE / name
    key = hashlib.sha256(f"{source.read_text()} {torch.__version__} {sysconfig.get_platform()}".encode()).hexdigest()
    library = folder / f"{source.stem}-{key[:16]}.so"
    if not library.exists():
        built = library.with_suffix(f".{os.getpid()}")
        command = [compiler() or "g++", *FLAGS, str(source), "-o", str(built)]
        subprocess.run(command + list(LINKED if "torch/" in source.read_text() else ()), check=True)
        built.replace(library)
    return library
