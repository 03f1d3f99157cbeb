"""Pools: the trials of a sweep that may share packs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from analysis.records import Stage
from sweeps.engine.estimate import heat_share, samples_of, steps
from sweeps.engine.search import PBT
from trainables.fused.structure import structure

if TYPE_CHECKING:
    from sweeps.engine.spec import Sweep
    from trainables.describe import Scalar

Shape = tuple[Stage, str]
"""What the trials of a pool have in common: stage and structure."""

LEARNING_SHARE = 4
"""A search that learns from its heats has this part of them under way at a time."""

FEW = 8
"""Smaller packs gain little, of heats above all: most of them are stopped early, and where no other follows the pack shrinks."""


@dataclass(kw_only=True, slots=True)
class Pool:
    """Trials of one shape: how many, the steps of all, how many may be under way at a time, and how many packs are ``at_once``."""

    at_once: int
    trials: float = 0.0
    steps: float = 0.0
    most: float = 0.0

    @property
    def members(self) -> int:
        """Of a pack."""
        return int(min(self.most, self.trials) / self.at_once)


@dataclass(frozen=True, kw_only=True, slots=True)
class Pools:
    """All of a sweep's pools, where so many packs are trained ``at_once``, and the steps of the trials that no lane packs."""

    at_once: int
    alone: float
    shared: Mapping[Shape, Pool]

    @classmethod
    def of(cls, sweep: Sweep, *, at_once: int) -> Pools:
        """Of a sweep that trains so many packs side by side, so that each gets its share of the trials.

        Finals of a level whose searched settings make several structures are shared out between these; its heats, of which nobody
        knows what they will be, count as trained alone.
        """
        alone, samples = 0.0, samples_of(sweep)
        shared: dict[Shape, Pool] = {}
        for level in sweep.levels():
            full = steps(sweep, level, samples)
            timed = min(sweep.seeds, sweep.timed_finals)
            alone += timed * full
            groups = [
                (Stage.HEAT, sweep.heats(level), full * heat_share(sweep, level), heats_at_once(sweep, level)),
                (Stage.FINAL, sweep.seeds - timed, full, math.inf),
            ]
            shapes = [structure(sweep.task, sweep.corner(level, end)) for end in range(sweep.ends)]
            if len({*shapes}) > 1:
                heats, *groups = groups
                alone += heats[1] * heats[2]
            for shape in shapes:
                for stage, trials, cost, most in groups:
                    pool = shared.setdefault((stage, shape), Pool(at_once=at_once))
                    pool.trials += trials / sweep.ends
                    pool.steps += trials * cost / sweep.ends
                    pool.most += most / sweep.ends
        return cls(at_once=at_once, alone=alone, shared=shared)

    def most(self, shape: Shape) -> float:
        """How many trials of a shape may be under way at a time, infinite where nothing bounds them."""
        return self.shared[shape].most if shape in self.shared else math.inf

    def worth_a_pack(self, shape: Shape, *, learned_from: bool) -> bool:
        """False for heats that a search learns from where too few may go together, or nobody knows how many."""
        if shape[0] is not Stage.HEAT or not learned_from:
            return True
        return shape in self.shared and self.shared[shape].most / self.at_once >= FEW

    def heats_alone(self, *, learned_from: bool) -> str | None:
        """Why heats are trained alone, as words; None where some may go into packs, or there are none."""
        heats = {shape: pool for shape, pool in self.shared.items() if shape[0] is Stage.HEAT and pool.trials}
        if not heats or any(self.worth_a_pack(shape, learned_from=learned_from) for shape in heats):
            return None
        most = max(1, int(max(pool.most for pool in heats.values()) / self.at_once))
        return (
            f"heats are trained alone: the search learns from them, so that a worker would have {most} at a time, and a pack of "
            f"heats has {FEW} at least"
        )

    @property
    def steps(self) -> float:
        """Of all trials."""
        return self.alone + sum(pool.steps for pool in self.shared.values())

    def members(self, alike: str) -> int:
        """Of the largest pack of a structure."""
        return max((pool.members for (_, shape), pool in self.shared.items() if shape == alike), default=0)


def heats_at_once(sweep: Sweep, level: Mapping[str, Scalar]) -> float:
    """Heats of a level under way at a time: some for a search that learns, which must hear of them before it asks for others.

    Infinite where nothing is learned from them.
    """
    search = sweep.search_of(level)
    if isinstance(search, PBT):
        return 1
    if not sweep.learns(level):
        return math.inf
    return max(1, sweep.heats(level) // LEARNING_SHARE)
