"""Whether packs are worth it: what a sweep's trials cost in packs, beside all of them alone."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from analysis import units
from analysis.records import Stage
from sweeps.engine.lanes import solo
from sweeps.engine.pack_sizes import choices
from sweeps.engine.packing import LEAST, SIZE, all_alone, why_alone
from sweeps.engine.pools import FEW, Pools
from trainables.fused.structure import structure

if TYPE_CHECKING:
    from sweeps.engine.spec import Sweep
    from trainables.fused.probe import Choice

SHARE = 0.4
"""Nothing is tried where less than this share of the work could go into packs of ``FEW``."""

WORTH = 1.3
"""How many times the work must go into that of packs. Members of a pack have no seconds of their own, which is a price too."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Laned:
    """A sweep with its lane, and in lane ``fused`` the ``sizes`` of packs by structure, 1 where trials are best trained alone."""

    sweep: Sweep
    sizes: Mapping[str, int] = field(default_factory=dict)


def before_ray(sweep: Sweep) -> bool:
    """Whether packs can be tried before Ray is up: on this machine, whose room is known, and without a GPU, which is not this
    process's to take.
    """
    return "RAY_ADDRESS" not in os.environ and (sweep.resources.gpus == 0 or not solo.alone().holds.get("GPU"))


def laned(sweep: Sweep, *, at_once: int, say: Callable[[str], None]) -> Laned:
    """The sweep in lane ``fused`` where it leaves the lane open and a try shows that packs are worth it; else as it is.

    Not where a trial has several workers. Where the lane is named the sizes are tried all the same.
    """
    if sweep.lane not in ("auto", "fused") or all_alone(sweep):
        return Laned(sweep=sweep)
    pools = Pools.of(sweep, at_once=at_once)
    if sweep.lane == "auto" and (sweep.most_workers > 1 or why_alone(sweep) or not hopeful(pools)):
        return Laned(sweep=sweep)
    say("Trying packs of trials …")
    found = choices(sweep, pools)
    if not found:
        say(f"  the try has failed, or no machine was free for it: {UNTRIED[sweep.lane]}")
        return Laned(sweep=sweep)
    gain = worth(pools, found)
    share = f"all trials take about {100 / gain:.0f} % of the time that they take one by one"
    sizes = {alike: choice.size for alike, choice in found.items()}
    learned_from = any(map(sweep.learns, sweep.levels()))
    heats = pools.heats_alone(learned_from=learned_from)
    if sweep.lane == "fused":
        say(f"  {_in_packs(sweep, found, share, heats)}")
        return Laned(sweep=sweep, sizes=sizes)
    taken = gain >= WORTH
    what = f"so they are, as with --lane fused{f'; {heats}' if heats else ''}" if taken else NOT_WORTH
    say(f"  trained together, {share}; {what}")
    return Laned(sweep=replace(sweep, lane="fused"), sizes=sizes) if taken else Laned(sweep=sweep)


NOT_WORTH = "which is not worth it: each is trained alone"

UNTRIED = {"auto": "each is trained alone", "fused": f"packs have up to {SIZE} members"}
"""What follows where nothing was found out."""


def _in_packs(sweep: Sweep, found: Mapping[str, Choice], share: str, heats: str | None) -> str:
    """What is made of a sweep whose lane was named; ``heats`` says why those go into none."""
    largest = max(choice.size for choice in found.values())
    reasons = _reasons(sweep, found)
    if largest == 1:
        why = reasons if len(reasons) < 2 else [f"{', '.join(levels)} ({reason})" for reason, levels in reasons.items()]
        return f"each is trained alone: {'; '.join(why) or 'no pack gains a tenth'}"
    why = [f"{', '.join(levels)} ({reason})" for reason, levels in reasons.items()]
    alone = f"; alone: {', '.join(why)}" if reasons else ""
    return f"in packs of up to {largest}, {share}{alone}{f'; {heats}' if heats else ''}"


def _reasons(sweep: Sweep, found: Mapping[str, Choice]) -> dict[str, list[str]]:
    """Why there is no pack of a structure, and the levels that have it."""
    reasons: dict[str, list[str]] = {}
    for level in sweep.levels():
        for end in range(sweep.ends):
            choice = found.get(structure(sweep.task, sweep.corner(level, end)))
            named = reasons.setdefault(choice.reason, []) if choice is not None and choice.reason else []
            label = units.level(level, sweep.name)
            named += [label] if label not in named else []
    return reasons


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
