"""Durations and what they come to."""

from __future__ import annotations

import random
from array import array
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

PHASES = ("data", "forward", "backward", "optimizer", "validation", "checkpoint", "other")
"""What the time of a run is divided into, to the last bit."""

KEPT = 65_536
"""Durations of a phase that are kept for its quantiles; of more, a random choice."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Timing:
    """One phase, in seconds: ``count`` times, ``total`` in all, quantiles and ends of a single time, its ``share`` of the whole.

    ``workers`` are the least and the greatest mean of several workers, None for one alone.
    """

    phase: str
    count: int
    total: float
    mean: float
    least: float
    greatest: float
    p50: float
    p95: float
    p99: float
    share: float
    workers: tuple[float, float] | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Profiled:
    """Where the time went, as the first of ``workers`` saw it; the shares of all phases add up to 1.

    ``epochs`` were measured, ``steps`` in all, in ``seconds``. ``trace`` is the file of torch's trace, where one was asked for, of
    the steps ``traced``.
    """

    device: str
    workers: int
    epochs: tuple[int, ...]
    steps: int
    seconds: float
    phases: tuple[Timing, ...]
    trace: str | None = None
    traced: tuple[int, int] | None = None

    def phase(self, name: str) -> Timing | None:
        """A phase by its name; None for one that did not come up."""
        return next((timing for timing in self.phases if timing.phase == name), None)

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)


class Durations:
    """The durations of one phase: exact count, sum and ends, and enough of them for quantiles."""

    def __init__(self) -> None:
        self.count, self.total = 0, 0.0
        self.least, self.greatest = float("inf"), 0.0
        self._kept = array("d")
        self._drawn = random.Random(0)

    def add(self, seconds: float) -> None:
        """Take in one; what is kept of many is a fair choice of them (Vitter's algorithm R, 1985)."""
        self.count += 1
        self.total += seconds
        self.least, self.greatest = min(self.least, seconds), max(self.greatest, seconds)
        if len(self._kept) < KEPT:
            self._kept.append(seconds)
        elif (place := self._drawn.randrange(self.count)) < KEPT:
            self._kept[place] = seconds

    @property
    def mean(self) -> float:
        """Of at least one."""
        return self.total / self.count

    def timing(self, phase: str, whole: float, workers: tuple[float, float] | None) -> Timing:
        """What they come to, of at least one; quantiles are interpolated."""
        import numpy as np

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
