"""kill -9 at random moments: what is lost, and how the run ends."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from trainables.checkpoints import load
from trainables.keep import BEST, LAST

KILLS = 32


@pytest.mark.slow
def test_killed_at_random_moments_it_loses_an_interval_and_ends_as_the_undisturbed_one(tmp_path: Path) -> None:
    """At most the steps under way since the last state, and the state that was being written; the end is the same bit for bit."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.trainables.killed", str(tmp_path), str(KILLS)],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    seen: dict[str, int] = json.loads(done.stdout)
    assert seen["kills"] >= KILLS
    assert seen["more"] == 0
    assert seen["within"] > 0
    whole = tmp_path / "whole"
    names = sorted(path.name for path in whole.iterdir())
    assert len(names) >= 6
    for number in range(1, seen["runs"] + 1):
        run = tmp_path / str(number)
        assert sorted(path.name for path in run.iterdir()) == names
        assert without_costs(load(run / LAST)) == without_costs(load(whole / LAST))
        for name in names:
            if name.endswith(".safetensors"):
                assert (run / name).read_bytes() == (whole / name).read_bytes()
    assert BEST in names


COSTS = ("seconds", "wall_seconds", "cpu_seconds", "peak_bytes", "time")


def without_costs(value: Any) -> Any:
    """A state in a form that can be compared bit for bit, without what a run has cost."""
    if isinstance(value, torch.Tensor):
        return (str(value.dtype), value.shape, value.numpy().tobytes())
    if isinstance(value, dict):
        return {
            name: without_costs(item)
            for name, item in value.items()
            if name not in COSTS and not str(name).startswith("system/")
        }
    if isinstance(value, list):
        return [without_costs(item) for item in value]
    return value
