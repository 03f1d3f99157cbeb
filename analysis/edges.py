"""Tuned points that lie at an end of what was searched: the best may lie beyond."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from analysis.ledger import Question
from analysis.records import Scalar, Stage, TrialRecord

NEAR = 0.02
"""How near an end is, as a part of the range (of its logarithm where that is searched evenly)."""

_NUMBER = r"-?\d+(?:\.\d+)?(?:e[-+]?\d+)?"
_RANGE = re.compile(rf"(uniform|log_uniform|int_range)\(({_NUMBER}), ({_NUMBER})(, log=True)?\)")
_SLACK = 1e-5
"""Of a written end, which has six digits."""

NAMED = 3
"""Levels up to this many are named."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Range:
    """A searched range of numbers as ``sweep.json`` writes it: ``log_uniform(0.0001, 0.03)``, ``int_range(16, 256, log=True)``."""

    text: str
    low: float
    high: float
    log: bool
    whole: bool

    def place(self, value: float) -> float:
        """Where a value lies from 0 to 1; a whole number in the middle of its own part."""
        low, high = (self.low - 0.5, self.high + 0.5) if self.whole else (self.low, self.high)
        if self.log:
            return (math.log(value) - math.log(low)) / (math.log(high) - math.log(low)) if value > 0 else -math.inf
        return (value - low) / (high - low)

    def holds(self, value: float) -> bool:
        """True for a value that can have come from this range."""
        slack = _SLACK * max(abs(self.low), abs(self.high))
        return self.low - min(slack, _SLACK * abs(self.low)) <= value <= self.high + slack

    def end(self, value: float) -> str | None:
        """``lower`` or ``upper`` for a value at that end, else None; below a range that begins at 0 there is nothing."""
        if self.low == self.high:
            return None
        place = self.place(value)
        if self.low != 0 and (place <= NEAR or value == self.low):
            return "lower"
        return "upper" if place >= 1 - NEAR or value == self.high else None


class Tuned(Protocol):
    """A level by its label, with its tuned point: of a verdict, or as its finals are gathered."""

    @property
    def level(self) -> Mapping[str, Scalar]: ...

    @property
    def label(self) -> str: ...

    @property
    def point(self) -> Mapping[str, Scalar]: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Edge:
    """A setting whose tuned value lies at the ``end`` (``lower``, ``upper``) of its range in these levels, by label."""

    path: str
    end: str
    range: Range
    levels: Sequence[str]

    def sentence(self, levels: int) -> str:
        """In words, where the sweep compares so many ``levels``; those that have it are named up to three."""
        where = ""
        if levels > 1:
            names = ("; " if any("," in label for label in self.levels) else ", ").join(self.levels)
            where = f" at {len(self.levels)} of {levels} levels" + (f" ({names})" if len(self.levels) <= NAMED else "")
        return f"{self.path} is tuned to the {self.end} end of {self.range.text}{where}: a wider range may hold a better point."


def read_range(text: object) -> Range | None:
    """A range from its description; None for a choice, or anything else that is no range of numbers."""
    found = _RANGE.fullmatch(str(text))
    if found is None:
        return None
    kind, low, high, log = found.groups()
    return Range(
        text=str(text),
        low=float(low),
        high=float(high),
        log=kind == "log_uniform" or log is not None,
        whole=kind == "int_range",
    )


def edges(question: Question, levels: Sequence[Tuned], records: Sequence[TrialRecord]) -> list[Edge]:
    """The settings that are tuned to an end of their range, in the order of the settings, then of the levels."""
    found: dict[tuple[str, str, Range], list[str]] = {}
    for level in levels:
        for path, known in _ranges(question, level.level, records).items():
            value = _number(level.point.get(path))
            if value is not None and (end := known.end(value)) is not None:
                found.setdefault((path, end, known), []).append(level.label)
    return [Edge(path=path, end=end, range=known, levels=labels) for (path, end, known), labels in found.items()]


def _ranges(question: Question, level: Mapping[str, Scalar], records: Sequence[TrialRecord]) -> dict[str, Range]:
    """The ranges that a level searched, by path.

    ``spaces`` has those of each level. Where only ``space`` is there, a path of several levels may have had another range in some
    of them: one that does not hold all that was tried is left out.
    """
    spaces: Any = question.raw.get("spaces")
    if isinstance(spaces, list) and len(spaces) == len(question.levels):
        own = [space for space, named in zip(spaces, question.levels, strict=True) if named == dict(level)]
        return dict(_read(own[0])) if own else {}
    tried = [record.point for record in records if record.stage is Stage.HEAT]
    return {
        path: known
        for path, known in _read(question.raw.get("space"))
        if all(known.holds(value) for point in tried if (value := _number(point.get(path))) is not None)
    }


def _read(space: Any) -> Iterator[tuple[str, Range]]:
    for path, text in space.items() if isinstance(space, Mapping) else ():
        known = read_range(text)
        if known is not None:
            yield str(path), known


def _number(value: Scalar) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)
