"""The sweep over numbers of workers: what it asks, and that it is answered."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sweeps import options
from sweeps.scaling import sweep

ROOT = Path(__file__).resolve().parents[2]


def test_it_asks_for_both_kinds_of_scaling_on_one_and_two_workers() -> None:
    sweep.check()
    assert sweep.compares_workers
    assert [
        (level["resources.workers"], sweep.corner(level, 0).effective_batch(sweep.workers(level)))
        for level in sweep.levels()
    ] == [
        (1, 256),
        (2, 256),
        (1, 128),
    ]
    # 128 for each of two is 256 in all: one run stands for both.
    assert [(level["batch_size"], first["batch_size"]) for level, first in sweep.equal()] == [
        ("PerWorker(samples=128)", 256)
    ]


def test_workers_on_the_command_line_are_doubled_up_to_that_number() -> None:
    asked = options.read(["--workers", "8"], program="scaling.py", description=None).question(sweep)
    assert asked.factors()["resources.workers"] == [1, 2, 4, 8]
    assert len(asked.levels()) == 7


@pytest.mark.slow
def test_it_runs_and_says_that_three_seeds_are_too_few(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "sweeps" / "scaling.py"), "--quick", "--seeds", "3", "--runs", str(tmp_path)]
    environment = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environment | {"PYTHONPATH": str(ROOT)},
        timeout=800,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    verdict = json.loads((tmp_path / "scaling-quick" / "verdict.json").read_text())
    assert verdict["answer"].startswith("Too few seeds to tell: so far 2 workers are ")
    assert " at the same batch of 256 (" in verdict["answer"]
    assert " at 128 a worker (" in verdict["answer"]
    assert verdict["answer"] in done.stdout
    assert "times as fast" in done.stdout
    strong, weak = verdict["scaling"]["groups"]
    assert (strong["kind"], strong["batch"], weak["kind"], weak["batch"]) == ("strong", 256, "weak", 128)
    for point in (*strong["points"], *weak["points"]):
        assert point["n"] == 3
        assert point["throughput"] > 0
        assert point["peak_bytes"] > 0
        assert point["cpu_seconds"] > 0
        assert point["joules"] is None
    # The same batch gives the same scores, however many workers share it.
    scores = {level["label"]: level["scores"] for level in verdict["levels"]}
    assert scores["256 in all, 1 worker"] == pytest.approx(scores["256 in all, 2 workers"], abs=0.01)
