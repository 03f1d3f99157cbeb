"""A sweep that cannot go on, run as a script by the tests: ``stalled.py FOLDER LANE TROUBLE``.

``place``: its workers take more CPUs than Ray has. ``head``: Ray's head is killed in mid-sweep. The watchdog's patience is short.
"""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import psutil

from sweeps import Resources
from sweeps.engine import cluster
from sweeps.engine.drive import drive
from sweeps.engine.lanes import solo
from sweeps.engine.machine import Machine
from sweeps.engine.race import Follower
from sweeps.engine.watchdog import Limits, StalledError, Watchdog
from tests.sweeps.small import small


class Killer:
    """A follower that kills Ray's head at the first epoch."""

    def started(self, record: Any) -> None:
        """Nothing yet."""

    def reported(self, record_id: str, row: Any) -> None:  # noqa: ARG002
        """Now."""
        for child in psutil.Process().children(recursive=True):
            if child.name() == "gcs_server":
                os.kill(child.pid, signal.SIGKILL)

    def ended(self, record: Any) -> None:
        """Nothing more."""


def interrupt(*_: Any) -> None:
    raise KeyboardInterrupt


def stalled(folder: Path, lane: str, trouble: str) -> None:
    """Run until the watchdog ends it; its words are printed."""
    workers = 1 if lane == "solo" else 2
    resources, _ = solo.start(Resources(gpus=0, workers=workers))
    signal.signal(signal.SIGTERM, interrupt)
    wanted = replace(resources, cpus=999) if trouble == "place" else resources
    watchdog = Watchdog(
        lane=lane,
        say=lambda text: print(f"note: {text}", flush=True),
        look=cluster.scene,
        answers=partial(cluster.answers, cluster.address()),
        limits=Limits(look=0.5, quiet=2.0, hopeless=15.0 if trouble == "place" else 600.0, gone=5.0, leave=20.0),
    )
    followers: list[Follower] = [watchdog, *([Killer()] if trouble == "head" else [])]
    sweep = replace(small(), resources=wanted)
    folder.mkdir()
    with watchdog:
        drive(sweep, folder, lane=lane, concurrency=1, machine=Machine.here(None), followers=followers)


if __name__ == "__main__":
    try:
        stalled(Path(sys.argv[1]), sys.argv[2], sys.argv[3])
    except StalledError as error:
        print(f"ended: {error}", flush=True)
        solo.stop()
        sys.exit(3)
