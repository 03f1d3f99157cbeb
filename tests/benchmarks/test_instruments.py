"""What watching costs is measured beside plain epochs that train the same."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.instruments import WAYS
from benchmarks.loops.ours import task
from benchmarks.loops.work import WORKS
from benchmarks.step_parts import plainly

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_the_smallest_run() -> None:
    command = ["-m", "benchmarks.instruments", "--json", "--quick", "--works", "mlp"]
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert {"meaning", "works", "rounds", "threads", "command", "machine", "versions"} <= result.keys()
    assert list(result["works"]["mlp"]["ways"]) == [*WAYS]
    assert all(entry["ratio"]["median"] > 0 for entry in result["works"]["mlp"]["ways"].values())
    assert result["row_cpu_microseconds"] > 0


def test_every_way_trains_the_same() -> None:
    work = replace(WORKS[0], steps=4)
    told = task(work)
    losses = {
        name: [epoch.metrics["train/loss"] for epoch in way(told, plainly(work, 2))] for name, way in WAYS.items()
    }
    assert losses["profiled"] == losses["watched"] == losses["again"]
    assert len(losses["again"]) == 2
