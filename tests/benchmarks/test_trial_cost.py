"""The benchmark's smallest run."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.cost import Measured, Point
from benchmarks.trial_cost import measurement

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_the_smallest_run() -> None:
    names = ["optuna", "solo"]
    command = ["-m", "benchmarks.trial_cost", "--json", "--quick", "--only", *names]
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    asked = (
        "solo_vs_stock_function solo_vs_stock_function_wall crew_vs_stock_trainer_2 gang_vs_stock_trainer_1 "
        "gang_vs_stock_trainer_2 crew_start_cpu_seconds crew_start_seconds driver_cpu_per_trial versions machine rounds command"
    )
    assert set(asked.split()) <= result.keys()
    assert result["driver_cpu_per_trial"].keys() == {"10", "100", "1000"}
    assert result["variants"].keys() == set(names)
    assert result["same_training"]
    assert result["failed"] == []
    for entry in result["variants"].values():
        for part in ("start", "per_trial"):
            assert entry[part]["cpu_seconds"]["median"] > 0
            assert entry[part]["seconds"]["median"] > 0


def test_what_the_first_trial_took_is_start() -> None:
    """A hundred trials of 0.5 CPU-s and 2 s each, of which the driver's part is 0.1 s, and 0.2 s in the last tenth."""
    outcome = {"lr": 1e-3, "seed": 0, "steps": 85, "train_loss": 0.5, "val_loss": 0.4, "trial": {}}
    driver = [7 + 0.1 * number + 0.1 * max(0, number - 90) for number in range(101)]
    lines = [
        json.dumps({"monotonic": 500 + 2.0 * number, "process_cpu": cpu, "outcome": outcome})
        for number, cpu in enumerate(driver)
    ]
    points = [Point(wall=10 + 2.0 * number, cpu=20 + 0.5 * number) for number in range(101)]
    found = measurement(Measured(status=0, marks=points, end=Point(wall=213.0, cpu=74.0)), lines)
    assert (found.start.cpu, found.start.seconds) == (20, 10)
    assert (found.trial.cpu, found.trial.seconds) == (0.5, 2.0)
    assert (found.after.cpu, found.after.seconds) == (4.0, 3.0)
    assert found.driver == pytest.approx(0.11)
    assert found.tenths == pytest.approx([0.1] * 9 + [0.2])
    assert len(found.outcomes) == 101


def test_what_the_first_pack_took_is_start() -> None:
    """Two packs of four, each ending within a tenth of a second; the second took 8 CPU-s, of which the driver 2, in 12 s."""
    outcome = {"lr": 1e-3, "seed": 0, "steps": 85, "train_loss": 0.5, "val_loss": 0.4, "trial": {"width": 40}}
    ends = [100.0, 100.0, 100.0, 100.1, 112.0, 112.0, 112.0, 112.1]
    lines = [
        json.dumps({"monotonic": end, "process_cpu": 7.0 if end < 110 else 9.0, "outcome": outcome}) for end in ends
    ]
    points = [Point(wall=end - 80, cpu=20.0 if end < 110 else 28.0) for end in ends]
    found = measurement(Measured(status=0, marks=points, end=Point(wall=33.0, cpu=29.0)), lines, pack=4)
    assert (found.start.cpu, found.start.seconds) == (20, pytest.approx(20.1))
    assert (found.trial.cpu, found.trial.seconds) == (2.0, pytest.approx(3.0))
    assert found.driver == pytest.approx(0.5)


def test_a_variant_that_fails_is_told_with_its_log() -> None:
    # From a process of its own: that of a test has other children.
    code = (
        "from dataclasses import replace\n"
        "from benchmarks.trial_cost import FailedError, measured\n"
        "from benchmarks.variants import VARIANTS\n"
        "try:\n"
        "    measured(replace(VARIANTS[0], name='unknown'), 2)\n"
        "except FailedError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert re.search(r"(?s)status 1 after 0 of 2 trials.*ValueError", done.stdout)


def test_an_unknown_name_is_refused() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.trial_cost", "--only", "sola"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 2
    assert "stock_function" in done.stderr


def test_it_runs_by_its_path_too(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "benchmarks/trial_cost.py"), "--help"]
    assert "--rounds" in subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=True).stdout
