"""Grid search."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from sweeps.engine import space
from sweeps.engine.search.domain import Domain
from sweeps.engine.search.search import few_trials
from trainables.describe import Scalar

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler
    from optuna.trial import FrozenTrial

LARGEST = 1_000
"""Points of the largest grid."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Grid:
    """Every combination of the searched holes: choices and whole numbers in full, other ranges by ``points`` values.

    These lie evenly from end to end, or evenly in the logarithm; a single one in the middle. A hole inside an option is combined
    with that option alone. The points are dealt in a drawn order, so that what a smaller ``trials`` or a budget leaves out is left
    out all over the grid.
    """

    points: int = 5
    trials: int = LARGEST

    completed_only: ClassVar[bool] = False
    learns: ClassVar[bool] = False

    def heats(self, domain: Domain, known: Sequence[Mapping[str, Scalar]]) -> int:
        """The size of the grid, at most ``trials``; points that are known but do not lie on it come on top."""
        grid = {_key(point) for point in self.grid(domain)}
        strangers = sum(_key(domain.parameters(point)) not in grid for point in known)
        return min(self.trials, len(grid) + strangers)

    def build(self, domain: Domain, seed: int) -> BaseSampler:
        """A sampler that gives each point of the grid once, and after the last one random ones."""
        import numpy as np

        from sweeps.engine.search.sampler import Drawn

        grid = list(self.grid(domain))
        order = [grid[place] for place in np.random.default_rng(seed).permutation(len(grid))]

        def draw(before: Sequence[FrozenTrial], number: int) -> Mapping[str, Scalar]:  # noqa: ARG001
            dealt = {_key(trial.params) for trial in before}
            return next((point for point in order if _key(point) not in dealt), {})

        return Drawn(draw, seed)

    def conflicts(self, domain: Domain) -> Iterator[str]:
        """What is wrong with the settings, or with so large a grid."""
        yield from few_trials("Grid", self.trials)
        if self.points < 1:
            yield f"Grid points {self.points} must be at least 1; 5 values of a range are usual"
        elif sum(1 for _ in self.grid(domain)) > LARGEST:
            sizes = ", ".join(f"{name}: {len(self.values(hole))}" for name, hole in domain.holes().items())
            yield f"Grid has more than {LARGEST} points ({sizes}); name fewer values by choice(), or take TPE"

    def grid(self, domain: Domain) -> Iterator[dict[str, Scalar]]:
        """The points by Optuna's names, in the order of the holes; one more than the largest grid has at most."""
        pending: list[dict[str, Scalar]] = [{}]
        found = 0
        while pending and found <= LARGEST:
            chosen = pending.pop()
            hole = _open(domain, chosen)
            if hole is None:
                found += 1
                yield chosen
            else:
                name, values = hole[0], self.values(hole[1])
                pending.extend(chosen | {name: value} for value in reversed(values))

    def values(self, hole: space.Hole) -> list[Scalar]:
        """The values of one hole."""
        match hole:
            case space.Choice(options):
                return [space.name(option) for option in options]
            case space.IntRange(low, high, _):
                return list(range(low, high + 1))
            case space.Uniform(low, high, log):
                return list(_spread(low, high, self.points, log=log))
            case space.Each():
                raise TypeError("a compared factor is not searched")


def _key(point: Mapping[str, Scalar]) -> frozenset[tuple[str, str]]:
    """A point as something that sets can hold, in which 1 is not True."""
    return frozenset((name, repr(value)) for name, value in point.items())


def _spread(low: float, high: float, count: int, *, log: bool) -> Iterator[float]:
    """``count`` values from end to end, both exact; the middle when there is one."""
    for index in range(count):
        place = index / (count - 1) if count > 1 else 0.5
        if place in (0, 1):
            yield float(high if place else low)
        elif log:
            yield math.exp((1 - place) * math.log(low) + place * math.log(high))
        else:
            yield (1 - place) * low + place * high


class _OpenError(Exception):
    """Carries the first hole that has no value yet."""

    def __init__(self, parameter: str, hole: space.Hole) -> None:
        super().__init__(parameter)
        self.found = parameter, hole


def _open(domain: Domain, chosen: Mapping[str, Scalar]) -> tuple[str, space.Hole] | None:
    """The first hole that is there for what was chosen and has no value yet."""

    def choose(parameter: str, hole: space.Hole) -> Scalar:
        if parameter not in chosen:
            raise _OpenError(parameter, hole)
        return chosen[parameter]

    try:
        domain.point(choose)
    except _OpenError as stop:
        return stop.found
    return None
