"""The walls of the house: who may import whom, and what starts without the heavy libraries."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

FORBIDDEN = {
    "trainables": {"ray", "optuna", "mlflow", "pandas", "analysis", "reports", "sweeps"},
    "analysis": {"torch", "ray", "reports", "sweeps", "trainables"},
    "reports": {"torch", "ray", "mlflow", "sweeps", "trainables"},
    "sweeps/engine": {"reports", "jinja2"},
}


def imported(path: Path) -> Iterator[str]:
    """Top-level names that a file imports anywhere in it, functions and type checking included."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module.partition(".")[0]


@pytest.mark.parametrize("room", FORBIDDEN)
def test_no_room_looks_to_its_right(room: str) -> None:
    files = sorted((ROOT / room).rglob("*.py"))
    assert files
    broken = {str(path.relative_to(ROOT)): FORBIDDEN[room] & set(imported(path)) for path in files}
    assert {path: names for path, names in broken.items() if names} == {}


def test_no_relative_imports() -> None:
    for path in ROOT.rglob("*.py"):
        if ".venv" not in path.parts:
            for node in ast.walk(ast.parse(path.read_text())):
                assert not (isinstance(node, ast.ImportFrom) and node.level), f"{path}:{node.lineno}"


HEAVY = {"torch", "ray", "optuna", "mlflow", "pandas", "scipy", "altair", "sklearn"}


@pytest.mark.parametrize(
    ("module", "allowed"),
    [
        ("trainables", set()),
        ("trainables.models", set()),
        ("trainables.tasks", set()),
        ("trainables.train", {"torch"}),
        ("analysis.judge", set()),
        ("reports.page", set()),
        ("sweeps", set()),
        ("sweeps.batch_size", set()),
    ],
)
def test_starting_is_light(module: str, allowed: set[str]) -> None:
    code = f"import sys, {module}; print(*sorted(set(sys.modules) & set({sorted(HEAVY)!r})))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert set(done.stdout.split()) <= allowed


def test_the_core_trains_with_torch_and_numpy_alone() -> None:
    """On a bare GPU machine neither Ray nor the other rooms are there."""
    code = """
import sys
for name in ('ray', 'optuna', 'mlflow', 'pandas', 'analysis', 'reports', 'sweeps', 'sklearn', 'scipy', 'psutil'):
    sys.modules[name] = None
import tests.trainables.small as small
from trainables.fit import fit
print(len(list(fit(small.task, small.recipe()))))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.split() == ["4"]
