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
    command = ["-m", "benchmarks.heap", "--json", "--quick", "--only", "cnn"]
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert {"meaning", "works", "rounds", "steps", "threads", "command", "machine", "versions"} <= result.keys()
    cnn = result["works"]["cnn"]
    assert cnn["ratio"]["median"] > 0
    assert cnn["with"]["pages"]["median"] < 0.5 * cnn["without"]["pages"]["median"]
