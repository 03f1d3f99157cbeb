"""Whether packs are worth it: what a sweep's trials cost in packs, beside all of them alone."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from analysis.records import Stage
from sweeps.engine.lanes import solo
from sweeps.engine.pack_sizes import choices
from sweeps.engine.packing import LEAST, why_alone
from sweeps.engine.pools import FEW, Pools

if TYPE_CHECKING:
    from sweeps.engine.spec import Sweep
    from trainables.fused.probe import Choice

SHARE = 0.4
"""Nothing is tried where less than this share of the work could go into packs of ``FEW``."""

WORTH = 1.3
"""How many times the work must go into that of packs. Members of a pack have no seconds of their own, which is a price too."""


def laned(sweep: Sweep, *, at_once: int, say: Callable[[str], None]) -> Sweep:
    """The sweep in lane ``fused`` where it leaves the lane open and a try shows that packs are worth it; else as it is.

    Not where a trial has several workers, nor where it may take a GPU, which this process may not have. Where the lane is named the
    sizes are tried all the same, so that it is said what takes so long; they are kept for when the trials begin.
    """
    if sweep.lane not in ("auto", "fused") or why_alone(sweep):
        return sweep
    if sweep.lane == "auto" and (sweep.most_workers > 1 or not _without_gpu(sweep)):
        return sweep
    pools = Pools.of(sweep, at_once=at_once)
    if sweep.lane == "auto" and not hopeful(pools):
        return sweep
    say("Trying packs of trials …")
    found = choices(sweep, pools)
    gain = worth(pools, found)
    share = f"all trials take about {100 / gain:.0f} % of the time that they take one by one"
    if sweep.lane == "fused":
        if found:
            largest = max(choice.size for choice in found.values())
            why = next((choice.reason for choice in found.values() if choice.reason), "no pack gains a tenth")
            say(f"  in packs of up to {largest}, {share}" if largest > 1 else f"  each is trained alone: {why}")
        return sweep
    taken = gain >= WORTH
    what = "so they are, as with --lane fused" if taken else "which is not worth it: each is trained alone"
    say(f"  trained together, {share}; {what}")
    return replace(sweep, lane="fused") if taken else sweep


def _without_gpu(sweep: Sweep) -> bool:
    return sweep.resources.gpus == 0 or ("RAY_ADDRESS" not in os.environ and not solo.alone().holds.get("GPU"))


def hopeful(pools: Pools) -> bool:
    """Whether enough of the work could go into packs that it is worth a try."""
    return sum(pool.steps for pool in pools.shared.values() if pool.members >= FEW) >= SHARE * pools.steps


def worth(pools: Pools, choices: Mapping[str, Choice]) -> float:
    """How many times all steps go into what they cost in packs as ``choices`` has them by structure."""
    packed = pools.alone
    for shape, pool in pools.shared.items():
        choice = choices.get(shape[1]) if pool.members >= FEW or shape[0] is Stage.FINAL else None
        packed += pool.steps / (gained(choice, pool.members) if choice is not None else 1.0)
    return pools.steps / packed


def gained(choice: Choice, members: int) -> float:
    """The gain of packs of so many: between two sizes that were tried by the logarithm, never of more than were chosen."""
    members = min(members, choice.size)
    if members < LEAST:
        return 1.0
    sizes = sorted(choice.gains)
    return float(
        np.interp(math.log(members), [math.log(size) for size in sizes], [choice.gains[size] for size in sizes])
    )
