"""Packs are measured beside a loop by hand that trains the same."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks.fused import GOALS, TOLERANCE
from benchmarks.packs import KINDS, alone, bare, together, work_of

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("name", KINDS)
def test_all_loops_train_the_same(name: str) -> None:
    work = work_of(name, 16, 2)
    device = torch.device("cpu")
    loops = bare(work, device), alone(work, device), together(work, 2, device)
    by_hand, fitted, packed = [[next(loop) for _ in range(2)] for loop in loops]
    assert fitted == pytest.approx(by_hand, rel=TOLERANCE)
    assert packed == pytest.approx(by_hand, rel=TOLERANCE)
    assert by_hand[0] != by_hand[1]


@pytest.mark.slow
def test_the_smallest_run() -> None:
    command = [sys.executable, "-m", "benchmarks.fused", "--json", "--quick"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert {*GOALS["cpu"], "meaning", "goals", "rounds", "threads", "command", "machine", "versions"} <= result.keys()
    assert result["same_training"]
    (entry,) = result["combinations"]
    assert (entry["network"], entry["batch"], entry["size"]) == ("mlp5k", 32, 4)
    for name in ("over_bare", "over_fit", "pack_microseconds_per_member_step"):
        assert entry[name]["median"] > 0


def test_an_unknown_network_is_refused() -> None:
    command = [sys.executable, str(ROOT / "benchmarks/fused.py"), "--only", "mlp6k"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 2
    assert "mlp86k" in done.stderr


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_refused() -> None:
    command = [sys.executable, "-m", "benchmarks.fused", "--device", "cuda"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 2
    assert "finds no GPU" in done.stderr
