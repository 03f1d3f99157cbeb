"""Room: how many trials of a sweep run at once, as far as that is known before anything is launched."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace

from sweeps.engine import capacity
from sweeps.engine.lanes import solo
from sweeps.engine.lanes.choice import lane_of
from sweeps.engine.spec import Sweep


@dataclass(frozen=True, kw_only=True, slots=True)
class Room:
    """So many trials ``at_once``; ``said`` is the sum behind it for a person, empty where nothing is to be counted."""

    at_once: int = 1
    said: str = ""


def room(sweep: Sweep) -> Room:
    """What a trial takes against what this machine has. Raises QuestionError, with the sum and the ways out, where none fits.

    A cluster is counted only when the sweep has joined it. The local lane takes what there is.
    """
    if lane_of(sweep) == "local":
        return Room()
    address = os.environ.get("RAY_ADDRESS")
    if address is not None:
        return Room(said=f"not counted: the cluster at RAY_ADDRESS {address} is asked when the sweep joins it")
    machines = [solo.alone()]
    largest = capacity.settled(replace(sweep.resources, workers=sweep.most_workers), machines)
    fits = capacity.fit(largest, machines)
    counted = capacity.arithmetic(largest, machines)
    if sweep.compares_workers:
        return Room(said=f"one trial at a time, so that seconds can be compared; {counted}")
    return Room(at_once=fits.concurrency, said=f"{capacity.count(fits.concurrency, 'trial')} at once; {counted}")
