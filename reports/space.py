"""What was searched: which parts of a point vary, and on what scale."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from analysis import units
from analysis.ledger import Question
from analysis.records import Scalar, TrialRecord
from reports.curves import number


@dataclass(frozen=True, kw_only=True, slots=True)
class Hole:
    """One searched hole: its path, the values that were tried, and how an axis for it runs.

    ``values`` are sorted numbers, or labels in the order in which they first came; ``log`` for a logarithmic axis.
    """

    path: str
    numeric: bool
    log: bool
    values: tuple[Scalar, ...]

    def place(self, value: Scalar) -> float | None:
        """Where a value lies from 0 to 1 between the least and the greatest that were tried; None when it is not there."""
        if not self.numeric:
            return self.values.index(value) / max(len(self.values) - 1, 1) if value in self.values else None
        x, low, high = number(value), number(self.values[0]), number(self.values[-1])
        if x is None or low is None or high is None:
            return None
        if self.log:
            if x <= 0:
                return None
            x, low, high = math.log(x), math.log(low), math.log(high)
        return 0.5 if high == low else (x - low) / (high - low)


def brief(value: Scalar) -> str:
    """A value of a hole in few digits: a tuned 5.58136e-4 is 5.58e-4 to a reader."""
    return units.label(float(f"{value:.3g}") if isinstance(value, float) else value)


def holes(question: Question, records: Sequence[TrialRecord]) -> list[Hole]:
    """The searched holes in the order in which the points name them: not the compared factors, and not what never varies."""
    paths: dict[str, None] = {}
    for record in records:
        paths.update(dict.fromkeys(record.point))
    space = question.raw.get("space")
    written = space if isinstance(space, dict) else {}
    result = []
    for path in paths:
        if path in question.factors:
            continue
        tried = [record.point[path] for record in records if record.point.get(path) is not None]
        unique = tuple(dict.fromkeys(tried))
        if len(unique) < 2:
            continue
        numbers = sorted({x for value in tried if (x := number(value)) is not None})
        if len(numbers) < len(unique):
            result.append(Hole(path=path, numeric=False, log=False, values=unique))
            continue
        # A space that does not say how it was drawn is seen from its spread.
        log = numbers[0] > 0 and ("log" in str(written.get(path, "")) or numbers[-1] >= 50 * numbers[0])
        result.append(Hole(path=path, numeric=True, log=log, values=tuple(numbers)))
    return result


def main_hole(found: Sequence[Hole]) -> Hole | None:
    """The hole that the search is drawn over: the learning rate, or else the first that holds numbers."""
    numeric = [hole for hole in found if hole.numeric]
    rates = [hole for hole in numeric if hole.path.split(".")[-1] in ("lr", "learning_rate")]
    return next(iter([*rates, *numeric]), None)
