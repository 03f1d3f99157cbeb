"""Steps with and without kept memory are measured in processes of their own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_the_smallest_run() -> None:
    command = ["-m", "benchmarks.heap", "--json", "--quick", "--rounds", "3", "--only", "cnn"]
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert {"meaning", "works", "rounds", "steps", "threads", "command", "machine", "versions"} <= result.keys()
    cnn = result["works"]["cnn"]
    assert cnn["ratio"]["median"] > 0
    # How many fewer hangs on where a process finds its memory: a block that settles late can cost half of what is saved.
    assert cnn["with"]["pages"]["median"] < cnn["without"]["pages"]["median"]
