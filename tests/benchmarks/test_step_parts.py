"""Each part is measured beside the plain recipe, and is a part that changes the recipe."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.loops.work import WORKS, Work
from benchmarks.step_parts import PARTS, plainly
from trainables import Recipe

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_the_smallest_run() -> None:
    names = ["again", "clip by norm", "Auto, nothing to halve"]
    command = ["-m", "benchmarks.step_parts", "--json", "--quick", "--works", "mlp", "--only", *names]
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert {"meaning", "works", "rounds", "threads", "command", "machine", "versions"} <= result.keys()
    (work,) = result["works"].values()
    assert work["plain_cpu_milliseconds_per_step"]["median"] > 0
    assert list(work["parts"]) == names
    for entry in work["parts"].values():
        assert entry["ratio"]["median"] > 0
        assert len(entry["ratio"]["rounds"]) == 1


@pytest.mark.parametrize("work", WORKS, ids=lambda work: work.name)
def test_every_part_is_one_change_without_conflicts(work: Work) -> None:
    plain = plainly(work, 1)
    for part in PARTS:
        changed = part.change(plain)
        assert not list(changed.conflicts()), part.name
        different = [name for name in Recipe.__dataclass_fields__ if getattr(changed, name) != getattr(plain, name)]
        assert len(different) == (0 if part.name == "again" else 1), part.name
    assert len({part.name for part in PARTS}) == len(PARTS)


def test_an_unknown_part_is_refused() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks/step_parts.py"), "--only", "EMMA"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 2
    assert "clip by norm" in done.stderr
