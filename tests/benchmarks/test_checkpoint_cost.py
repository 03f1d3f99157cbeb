"""All ways of keeping are measured side by side."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from benchmarks.checkpoint_cost import WAYS

ROOT = Path(__file__).resolve().parents[2]


def test_the_smallest_run(tmp_path: Path) -> None:
    command = [str(ROOT / "benchmarks/checkpoint_cost.py"), "--json", "--quick", "--works", "transformer"]
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert {"meaning", "works", "rounds", "epochs", "command", "machine", "versions"} <= result.keys()
    (work,) = result["works"].values()
    assert work["wall_milliseconds"]["median"] > 0
    assert work["state_bytes"] > 100_000
    assert all(kept["held_milliseconds"]["median"] > 0 for kept in work["kept"].values())
    assert list(work["kept"]) == list(WAYS)[1:] == ["in turn", "beside"]
    assert not [*tmp_path.iterdir()]
