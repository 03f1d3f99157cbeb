"""Several workers, as real processes: what they cost together, and where the time of each goes."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import chain, count
from typing import Any

import pytest

from tests.trainables.small import recipe, task
from tests.trainables.telemetry.nvml import Card
from tests.trainables.telemetry.test_meter import history, watched
from tests.trainables.test_world import together
from trainables.profiler import profile
from trainables.world import World

NAMES = ("joules", "system/rss_bytes", "peak_bytes", "system/cpu_percent", "cpu_seconds")


def measured(world: World) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """A run with a counter of energy, and a profile.

    The first worker's card counts on by 250 mJ at each question, the second's by 750 in two epochs, and goes back in the third.
    """
    energy: Iterator[int] = count(0, 250) if world.first else chain([0, 750, 1000, 1750, 50, 20], count(100, 1))
    with pytest.MonkeyPatch.context() as patch:
        watched(patch, Card(energy=energy))
        rows = history(world=world, epochs=3)
    return [{name: row.get(name) for name in NAMES} for row in rows], profile(
        task, recipe(), epochs=2, world=world
    ).to_json()


def test_two_workers() -> None:
    (rows, mine), (others, theirs) = together(2, measured)
    assert [row["joules"] for row in rows] == [1.0, 2.0, None]
    assert rows == others
    assert all(
        math.isfinite(row["system/cpu_percent"]) and row["system/rss_bytes"] <= row["peak_bytes"] for row in rows
    )
    assert (mine["workers"], theirs["workers"]) == (2, 2)
    for phase, other in zip(mine["phases"], theirs["phases"], strict=True):
        assert phase["workers"] == (min(phase["mean"], other["mean"]), max(phase["mean"], other["mean"]))
        assert other["workers"] is None
