"""Durations and what they come to."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from trainables.profiler.timing import PHASES, Timing

KEPT = 65_536
"""Durations of a phase that are kept for its quantiles; of more, a random choice."""


class Durations:
    """The durations of one phase: exact count, sum and ends, and enough of them for quantiles."""

    def __init__(self) -> None:
        self.count, self.total = 0, 0.0
        self.least, self.greatest = math.inf, 0.0
        self._kept, self._lots = np.empty(0), np.empty(0)
        self._drawn = np.random.default_rng(0)

    def take(self, seconds: Sequence[float]) -> None:
        """Take in some, at least one; of very many those are kept for which the least numbers were drawn, a fair choice."""
        new = np.asarray(seconds)
        self.count += len(new)
        self.total += float(new.sum())
        self.least, self.greatest = min(self.least, float(new.min())), max(self.greatest, float(new.max()))
        self._kept = np.concatenate([self._kept, new])
        self._lots = np.concatenate([self._lots, self._drawn.random(len(new))])
        if len(self._kept) > KEPT:
            chosen = np.argpartition(self._lots, KEPT)[:KEPT]
            self._kept, self._lots = self._kept[chosen], self._lots[chosen]

    @property
    def mean(self) -> float:
        """Of at least one."""
        return self.total / self.count

    def timing(self, phase: str, whole: float, workers: tuple[float, float] | None) -> Timing:
        """What they come to, of at least one; quantiles are interpolated."""
        p50, p95, p99 = np.quantile(self._kept, (0.5, 0.95, 0.99)).tolist()
        return Timing(
            phase=phase,
            count=self.count,
            total=self.total,
            mean=self.mean,
            least=self.least,
            greatest=self.greatest,
            p50=p50,
            p95=p95,
            p99=p99,
            share=self.total / whole if whole else 0.0,
            workers=workers,
        )


def timings(durations: Mapping[str, Durations], means: list[Mapping[str, float]]) -> tuple[Timing, ...]:
    """All phases that came up, in their order; ``means`` are those of each worker, where there are several."""
    whole = sum(each.total for each in durations.values())
    found = []
    for phase in PHASES:
        if phase in durations:
            theirs = [worker[phase] for worker in means if phase in worker]
            spread = (min(theirs), max(theirs)) if len(means) > 1 and theirs else None
            found.append(durations[phase].timing(phase, whole, spread))
    return tuple(found)
