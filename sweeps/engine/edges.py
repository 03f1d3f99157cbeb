"""Tuned points that lie at an end of what was searched: the best may lie beyond."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from analysis import units
from analysis.records import Stage, Status, TrialRecord
from sweeps.engine import space
from sweeps.engine.also import best
from sweeps.engine.search.unit import to_unit
from sweeps.engine.spec import Sweep
from trainables.describe import Scalar

NEAR = 0.02
"""How near an end is, as a part of the range (of its logarithm where that is searched evenly)."""


def edges(sweep: Sweep, records: Sequence[TrialRecord]) -> list[str]:
    """A sentence for each hole whose best value lies at an end in some level, with the levels; empty when all lie inside.

    A range that begins at 0 has nothing below it. Nothing is said of choices.
    """
    found: dict[tuple[str, str, str], list[str]] = {}
    levels = sweep.levels()
    for level in levels:
        heats = [one for one in records if one.stage is Stage.HEAT and dict(one.level) == level]
        chosen = best([one for one in heats if one.status is Status.COMPLETED], sweep.task.goal, sweep.also)
        if chosen is not None:
            for path, hole, end in _ends(sweep, level, chosen.point):
                found.setdefault((path, space.describe(hole), end), []).append(units.level(level, sweep.name))
    return [
        f"{path} is tuned to the {end} end of {text}{_where(names, len(levels))}: a wider range may hold a better point."
        for (path, text, end), names in found.items()
    ]


def _ends(
    sweep: Sweep, level: Mapping[str, Scalar], point: Mapping[str, Scalar]
) -> Iterator[tuple[str, space.Hole, str]]:
    """The numbers of a point that lie at an end of their range."""
    filled: list[tuple[str, space.Hole]] = []

    def filler(path: str, hole: space.Hole) -> Scalar:
        filled.append((path, hole))
        return point[path]

    space.resolve(sweep.domain(level).recipe, filler)
    for path, hole in filled:
        if not isinstance(hole, space.Uniform | space.IntRange) or hole.low == hole.high:
            continue
        value, place = point[path], to_unit(hole, point[path])
        if (place <= NEAR or value == hole.low) and hole.low != 0:
            yield path, hole, "lower"
        elif place >= 1 - NEAR or value == hole.high:
            yield path, hole, "upper"


def _where(names: Sequence[str], levels: int) -> str:
    """Which levels, by name up to three of them."""
    if levels == 1:
        return ""
    return f" at {len(names)} of {levels} levels" + (f" ({', '.join(names)})" if len(names) <= 3 else "")
