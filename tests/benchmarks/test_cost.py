"""The CPU of a command is that of all processes it started, whoever waited for them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.cost import measure

BURN = """
import json, os, sys, time

def burn(seconds):
    while time.process_time() < seconds:
        pass
    with open(sys.argv[1], "a") as file:
        file.write(json.dumps(time.process_time()) + "\\n")
"""

WAITED_FOR = """
if os.fork() == 0:
    burn(0.3)
    os._exit(0)
os.wait()
burn(0.2)
"""

ORPHANED = """
if os.fork() == 0:
    if os.fork() == 0:
        os.setsid()
        time.sleep(0.2)
        burn(0.3)
    os._exit(0)
os.wait()
burn(0.2)
"""

WAITED_FOR_BY_NOBODY = """
import signal
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
if os.fork() == 0:
    burn(0.3)
    time.sleep(0.3)
    os._exit(0)
burn(0.2)
time.sleep(1.2)
"""


# What measures ends all that is below it; the process of a test has a browser and more there.
MEASURE = """
import dataclasses, json, os, sys
from pathlib import Path
from benchmarks.cost import measure

script, log, marks, limit, linger = sys.argv[1:]
measured = measure(
    [sys.executable, script, marks],
    environment=os.environ, log=Path(log), marks=Path(marks), limit=float(limit), linger=float(linger),
)
print(json.dumps(dataclasses.asdict(measured)))
"""


def measured(script: str, folder: Path, *, limit: float = 60, linger: float = 20) -> dict[str, Any]:
    """Measure a script from a fresh process; the file that it is given gains the marks."""
    (folder / "script.py").write_text(script)
    told = subprocess.run(
        [sys.executable, "-c", MEASURE, folder / "script.py", folder / "log", folder / "told", str(limit), str(linger)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.returncode == 0, told.stderr
    result: dict[str, Any] = json.loads(told.stdout)
    return result


@pytest.mark.parametrize("tree", [WAITED_FOR, ORPHANED, WAITED_FOR_BY_NOBODY])
def test_every_process_is_counted_once(tree: str, tmp_path: Path) -> None:
    found = measured(BURN + tree, tmp_path)
    assert found["status"] == 0, (tmp_path / "log").read_text()
    used = sum(map(json.loads, (tmp_path / "told").read_text().splitlines()))
    # Ticks of ten milliseconds, and what a process uses after it has told.
    assert found["end"]["cpu"] == pytest.approx(used, abs=0.15)
    assert len(found["marks"]) == 2
    assert found["marks"][0]["cpu"] <= found["marks"][1]["cpu"] <= found["end"]["cpu"] + 0.05


def test_nothing_outlives_the_limit(tmp_path: Path) -> None:
    """A command that hangs is ended, with the processes it started."""
    found = measured("import subprocess\nsubprocess.run(['sleep', '600'])\n", tmp_path, limit=1.0, linger=0.2)
    assert found["status"] == -9
    assert not found["marks"]


def test_a_process_that_has_children_is_refused(tmp_path: Path) -> None:
    with subprocess.Popen(["sleep", "60"]) as other:
        try:
            with pytest.raises(RuntimeError, match=rf"other children \(.*\b{other.pid}\b"):
                measure(["true"], environment={}, log=tmp_path / "log", marks=tmp_path / "none", limit=1.0)
            assert other.poll() is None
        finally:
            other.kill()
