"""Dots with whiskers on one shared axis, drawn into the rows of a table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from analysis.verdict import Interval, bounded

HEIGHT = 28

ROOM = 20
"""Characters that fit over a column, with two between two labels."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Axis:
    """The axis that all rows share; ``mark`` is a value drawn as a line through all rows (zero)."""

    low: float
    high: float
    ticks: tuple[float, ...]
    mark: float | None = None

    def at(self, value: float) -> float:
        """Where a value lies, in percent of the width; what is beyond an end lies on it."""
        return round(100 * min(max((value - self.low) / (self.high - self.low), 0.0), 1.0), 2)


def round_ticks(low: float, high: float) -> tuple[float, ...]:
    """Three to five round values between the ends, or two where there is no more."""
    step = 10.0 ** math.floor(math.log10(high - low))
    best: tuple[float, ...] = ()
    for factor in (5.0, 2.0, 1.0, 0.5, 0.25, 0.2):
        first, last = math.ceil(low / (step * factor)), math.floor(high / (step * factor))
        if last - first + 1 > 5:
            break
        best = tuple(round(place * step * factor, 12) for place in range(first, last + 1))
        if len(best) >= 3:
            break
    return best


def axis(middles: Sequence[float], intervals: Sequence[Interval], mark: float | None = None) -> Axis | None:
    """An axis that shows all middles and as much of the intervals as does not press the middles together.

    None where there is nothing to show. An interval of two runs can be a hundred times as wide as all differences: it runs off the
    end, and is drawn so.
    """
    if not middles:
        return None
    ends = [end for interval in intervals for end in interval if end is not None]
    widths = [high - low for low, high in intervals if low is not None and high is not None]
    room = max(max(middles) - min(middles), float(np.median(widths)) if widths else 0.0)
    low = max(min([*ends, *middles]), min(middles) - 1.5 * room)
    high = min(max([*ends, *middles]), max(middles) + 1.5 * room)
    if mark is not None:
        low, high = min(low, mark), max(high, mark)
    margin = 0.06 * (high - low) or abs(high) * 0.05 or 0.5
    low, high = low - margin, high + margin
    return Axis(low=low, high=high, ticks=round_ticks(low, high), mark=mark)


def whisker(scale: Axis, middle: float, interval: Interval | None) -> str:
    """One row as SVG: a dot at ``middle``, a bar over the interval; an end that is beyond the axis runs off it, without a cap.

    An interval without ends says nothing, and no bar is drawn: it would be the widest of all.
    """
    parts = [_line(tick, scale, "tick") for tick in scale.ticks]
    if scale.mark is not None:
        parts.append(_line(scale.mark, scale, "mark"))
    y = HEIGHT / 2
    if interval is not None and bounded(interval):
        low, high = interval
        start = 0.0 if low is None else scale.at(low)
        end = 100.0 if high is None else scale.at(high)
        parts.append(f'<line class="bar" x1="{start}%" x2="{end}%" y1="{y}" y2="{y}"/>')
        for value in (low, high):
            if value is not None and scale.low <= value <= scale.high:
                at = scale.at(value)
                parts.append(f'<line class="cap" x1="{at}%" x2="{at}%" y1="{y - 5}" y2="{y + 5}"/>')
    parts.append(f'<circle class="dot" cx="{scale.at(middle)}%" cy="{y}" r="4.5"/>')
    return _svg(parts, HEIGHT)


def header(scale: Axis, texts: Sequence[str]) -> str:
    """The axis for the head of the column: a label for each of its ticks, or for every second where there is no room for all.

    ``texts`` are made from ``ticks``; of several in percent the last one alone says so.
    """
    parts = []
    texts = [*(text.removesuffix(" %") for text in texts[:-1]), *texts[-1:]]
    crowded = len(texts) > 2 and len("  ".join(texts)) > ROOM
    shown = list(zip(scale.ticks, texts, strict=True))[:: 2 if crowded else 1]
    for place, (tick, text) in enumerate(shown):
        # On a phone there is room for the two outermost alone.
        name = ' class="inner"' if 0 < place < len(shown) - 1 else ""
        parts.append(f'<text x="{scale.at(tick)}%" y="12" text-anchor="middle"{name}>{escape(text)}</text>')
    return _svg(parts, 16)


def _line(value: float, scale: Axis, name: str) -> str:
    at = scale.at(value)
    return f'<line class="{name}" x1="{at}%" x2="{at}%" y1="0" y2="{HEIGHT}"/>'


def _svg(parts: Sequence[str], height: int) -> str:
    return f'<svg class="whisker" height="{height}" aria-hidden="true" focusable="false">{"".join(parts)}</svg>'
