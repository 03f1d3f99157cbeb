"""Which lane a sweep runs in."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sweeps.engine.spec import Sweep


def lane_of(sweep: Sweep) -> str:
    """The lane that the sweep names; ``auto`` is solo for trials of one worker, and crew where one has more."""
    if sweep.lane != "auto":
        return sweep.lane
    return "solo" if sweep.most_workers == 1 else "crew"
