"""What writing down costs is measured on a real sweep of trials that hardly train."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_the_smallest_run() -> None:
    command = ["-m", "benchmarks.keeping_up", "--json", "--quick"]
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert {"meaning", "command", "machine", "versions", "goal"} <= result.keys()
    assert result["trials"] == 40
    assert result["points"] == 40 * result["epochs"] * 5
    assert result["tracked"]
    assert result["driver"] > 0
    assert result["page"] > 0
    assert len(result["driver_megabytes_after_each_tenth"]) == 10
    assert {"trials.jsonl", "report.html"} <= result["file_bytes"].keys()
