"""Which lane a sweep runs in."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sweeps.engine.spec import Sweep

MEANINGS = {
    "solo": "workers that are kept, each trains one trial after the other",
    "fused": "workers that are kept, each trains packs of trials at once",
    "crew": "groups of workers that are kept, each group trains one trial after the other",
    "gang": "a group of workers of its own for every trial",
    "local": "one trial after the other in this process, without Ray",
}
"""What each lane does, in a few words."""


def lane_of(sweep: Sweep) -> str:
    """The lane that the sweep names; ``auto`` is solo for one worker a trial, as long as no packs were tried, and crew for more."""
    if sweep.lane != "auto":
        return sweep.lane
    return "solo" if sweep.most_workers == 1 else "crew"
