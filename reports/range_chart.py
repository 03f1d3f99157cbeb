"""The picture of a learning-rate range test: the loss over rising rates, and what it suggests."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from reports.curve_chart import HEIGHT
from reports.figure import Build
from reports.palette import INK, PAPER
from reports.scaling_chart import ticks
from reports.theme import colour, specification, table

BANDS = 2
"""Up to so many levels each has a band: more of them would hide one another."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RangePoint:
    """The median smooth loss of a level's sweeps at a rate, and the lowest and the highest of them."""

    rate: float
    loss: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True, slots=True)
class RangeMark:
    """A suggested rate with its interval; ``said`` is it in words."""

    rate: float
    low: float
    high: float
    said: str


@dataclass(frozen=True, kw_only=True, slots=True)
class RangeLine:
    """A level's curve with its suggestion, None where there is none."""

    label: str
    points: Sequence[RangePoint]
    mark: RangeMark | None


def range_curves(lines: Sequence[RangeLine], *, height: int = HEIGHT) -> Build:
    """A line for each level; its suggestion is a dot on it, with the interval as a bar. Losses far above the start are cut off."""
    labels = [line.label for line in lines]
    rows = [_row(line.label, point) for line in lines for point in line.points]
    marks = [_mark(line) for line in lines if line.mark is not None]
    low, high = window(lines)
    inside = [row["x"] for row in rows]
    reach = min(inside), max(inside)
    banded = len(lines) <= BANDS

    def build(still: bool) -> dict[str, Any]:  # noqa: ARG001
        import altair as alt

        scale = alt.Scale(type="log", domain=list(reach), nice=False)

        def x(field: str) -> alt.X:
            axis = alt.Axis(values=decades(*reach), format="~e")
            return alt.X(f"{field}:Q", title="learning rate", scale=scale, axis=axis)

        def y(field: str) -> alt.Y:
            vertical = alt.Scale(domain=[low, high], nice=False, zero=False)
            return alt.Y(f"{field}:Q", title="training loss, smoothed", scale=vertical, axis=alt.Axis(tickCount=6))

        named = alt.Legend(title=None, orient="bottom", symbolStrokeWidth=3, symbolType="stroke", columns=6)
        tint = (
            colour(labels)
            if len(labels) == 1
            else alt.Color("level:N", legend=named, sort=labels, scale=alt.Scale(domain=labels, range=_colours(labels)))
        )
        base = table().encode(x=x("x"), color=tint)
        layers: list[Any] = []
        if banded:
            layers.append(base.mark_area(clip=True, opacity=0.14).encode(y=y("low"), y2="high:Q"))
        layers.append(base.mark_line(strokeWidth=2.25, clip=True).encode(y=y("loss")))
        chosen = table("marks").encode(y=y("loss"), color=tint)
        bar = chosen.encode(x=x("low"), x2="high:Q")
        layers.append(bar.mark_rule(strokeWidth=2.5, clip=True))
        dot = chosen.mark_point(size=110, filled=True, opacity=1, stroke=PAPER.light, strokeWidth=1.5, clip=True)
        layers.append(dot.encode(x=x("x")))
        if banded:
            words = table("marks").mark_text(
                align="left", baseline="bottom", dx=9, dy=-7, fontWeight=600, color=INK.light
            )
            layers.append(words.encode(x=x("x"), y=y("loss"), text="said:N"))
        return specification(layers, data={"rows": rows, "marks": marks}, height=height)

    return build


def window(lines: Sequence[RangeLine]) -> tuple[float, float]:
    """The losses that are drawn: from the lowest to half as far above the start as the lowest lies below it."""
    losses = [point.low for line in lines for point in line.points]
    least, start = min(losses), max(line.points[0].loss for line in lines)
    room = (start - least) or abs(start) or 1.0
    return least - 0.06 * room, start + 0.5 * room


def _colours(labels: Sequence[str]) -> list[str]:
    from reports.palette import series

    return list(series(labels).values())


def _row(label: str, point: RangePoint) -> dict[str, Any]:
    return {"level": label, "x": point.rate, "loss": point.loss, "low": point.low, "high": point.high}


def _mark(line: RangeLine) -> Mapping[str, Any]:
    """The suggestion at the height of its curve."""
    mark = line.mark
    assert mark is not None
    nearest = min(line.points, key=lambda point: abs(math.log(point.rate / mark.rate)))
    return {
        "level": line.label,
        "x": mark.rate,
        "low": mark.low,
        "high": mark.high,
        "loss": nearest.loss,
        "said": mark.said,
    }


def decades(low: float, high: float) -> list[float]:
    """The powers of ten between two rates, which are read to a factor of two at best; finer ticks where there is no second one."""
    powers = range(math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9) + 1)
    return [10.0**power for power in powers] if len(powers) > 1 else ticks(low, high)
