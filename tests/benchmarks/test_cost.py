"""The CPU of a command is that of all processes it started, whoever waited for them."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

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


@pytest.mark.parametrize("tree", [WAITED_FOR, ORPHANED, WAITED_FOR_BY_NOBODY])
def test_every_process_is_counted_once(tree: str, tmp_path: Path) -> None:
    script, told, log = tmp_path / "tree.py", tmp_path / "told", tmp_path / "log"
    script.write_text(BURN + tree)
    measured = measure([sys.executable, str(script), str(told)], environment=os.environ, log=log, marks=told, limit=60)
    assert measured.status == 0, log.read_text()
    used = sum(map(json.loads, told.read_text().splitlines()))
    # Ticks of ten milliseconds, and what a process uses after it has told.
    assert measured.end.cpu == pytest.approx(used, abs=0.15)
    assert len(measured.marks) == 2
    assert measured.marks[0].cpu <= measured.marks[1].cpu <= measured.end.cpu + 0.05


def test_nothing_outlives_the_limit(tmp_path: Path) -> None:
    """A command that hangs is ended, with the processes it started."""
    script = tmp_path / "hang.py"
    script.write_text("import subprocess, sys\nsubprocess.run(['sleep', '600'])\n")
    measured = measure(
        [sys.executable, str(script)],
        environment=os.environ,
        log=tmp_path / "log",
        marks=tmp_path / "none",
        limit=1.0,
        linger=0.2,
    )
    assert measured.status == -9
    assert not measured.marks
