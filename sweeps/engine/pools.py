"""Pools: the trials of a sweep that may share packs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from analysis.records import Stage
from sweeps.engine.estimate import heat_share, samples_of, steps
from sweeps.engine.packing import heats_at_once
from trainables.fused.structure import structure

if TYPE_CHECKING:
    from sweeps.engine.spec import Sweep

Shape = tuple[Stage, str]
"""What the trials of a pool have in common: stage and structure."""


@dataclass(kw_only=True, slots=True)
class Pool:
    """Trials of one shape: how many, the steps of all of them, and how many may go together."""

    trials: float = 0.0
    steps: float = 0.0
    most: int = 1

    def members(self, at_once: int) -> int:
        """Of a pack, where so many packs are trained side by side."""
        return min(self.most, int(self.trials / at_once))


@dataclass(frozen=True, kw_only=True, slots=True)
class Pools:
    """All of a sweep's pools, and the steps of the trials that no lane packs."""

    alone: float
    shared: Mapping[Shape, Pool]

    @classmethod
    def of(cls, sweep: Sweep) -> Pools:
        """A level whose searched settings make several structures has its trials shared out between them."""
        alone, samples = 0.0, samples_of(sweep)
        shared: dict[Shape, Pool] = {}
        for level in sweep.levels():
            full = steps(sweep, level, samples)
            timed = min(sweep.seeds, sweep.timed_finals)
            alone += timed * full
            groups = (
                (Stage.HEAT, sweep.heats(level), full * heat_share(sweep, level), heats_at_once(sweep, level)),
                (Stage.FINAL, sweep.seeds - timed, full, len(sweep.levels()) * sweep.seeds),
            )
            for end in range(sweep.ends):
                shape = structure(sweep.task, sweep.corner(level, end))
                for stage, trials, cost, most in groups:
                    pool = shared.setdefault((stage, shape), Pool())
                    pool.trials += trials / sweep.ends
                    pool.steps += trials * cost / sweep.ends
                    pool.most = max(pool.most, most)
        return cls(alone=alone, shared=shared)

    @property
    def steps(self) -> float:
        """Of all trials."""
        return self.alone + sum(pool.steps for pool in self.shared.values())

    def members(self, alike: str, at_once: int) -> int:
        """Of the largest pack of a structure."""
        return max((pool.members(at_once) for (_, shape), pool in self.shared.items() if shape == alike), default=0)
