"""Sweeps whose packs are kept full and left to shrink are run in processes of their own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_the_smallest_run() -> None:
    command = ["-m", "benchmarks.places", "--json", "--quick", "--only", "random"]
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert {"meaning", "searches", "heats", "epochs", "rounds", "command", "machine", "versions"} <= result.keys()
    drawn = result["searches"]["random"]
    assert drawn["ratios"]["cpu_seconds"]["median"] > 0
    assert 1 < drawn["shrinking"]["members"]["median"] < 40
    assert 1 < drawn["full"]["members"]["median"] <= 40
