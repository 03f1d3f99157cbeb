"""The chart of how far runs spread: a row a source, a dot a final at its distance from the mean, below it the deviation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from analysis import units
from analysis.ledger import Goal
from analysis.spread import Source, SpreadGroup
from analysis.spread_answer import deviation
from reports.figure import Build
from reports.palette import INK, MUTED
from reports.theme import colour, opacity, specification, table

ROW = 118
"""Pixels of a row."""

_STACK = 60
"""Pixels to which the dots of a row may be stacked."""

_DOT = 6.0
"""Pixels from one dot to the next above it, fewer where that would be too high."""

_BELOW = 16
"""Pixels from the lowest dots down to the line."""

_BINS = 60
"""Places across the chart at which scores are stacked that hardly tie."""


def runs(groups: Sequence[SpreadGroup], goal: Goal, labels: Sequence[str]) -> Build:
    """Every final's score less its level's mean, in points where it is a share; ``labels`` of levels in order."""
    scale = 100.0 if units.is_share(goal.metric) else 1.0
    pairs = [(group, source) for group in groups for source in group.all]
    dots = [dot for place, (group, source) in enumerate(pairs) for dot in _dots(group, source, scale, -place)]
    step = min(_DOT, _STACK / (1 + max((dot["above"] for dot in dots), default=0)))
    dots = [{**dot, "y": dot["row"] + dot["above"] * step / ROW} for dot in dots]
    bars = [_bar(group, source, goal, scale, -place) for place, (group, source) in enumerate(pairs)]
    ends = [abs(dot["x"]) for dot in dots] + [bar["high"] or bar["sd"] or 0.0 for bar in bars]
    reach = 1.06 * max(ends, default=0.0) or 1.0

    def build(still: bool) -> dict[str, Any]:
        import altair as alt

        what = "points from the mean" if scale == 100 else f"{units.name(goal.metric)} from the mean"
        axis = alt.Axis(labelExpr="datum.value ? format(datum.value, '+~g') : '0'", tickCount=6, grid=True)

        def x(field: str) -> alt.X:
            return alt.X(f"{field}:Q", title=what, scale=alt.Scale(domain=[-reach, reach], nice=False), axis=axis)

        def y(field: str) -> alt.Y:
            top, bottom = (_STACK + 24) / ROW, 1 - len(pairs) - 2 * _BELOW / ROW
            return alt.Y(f"{field}:Q", axis=None, scale=alt.Scale(domain=[bottom, top], nice=False))

        own = colour(labels)
        points = (
            table()
            .mark_circle(size=0.8 * max(step, 3.0) ** 2)
            .encode(x=x("x"), y=y("y"), color=own, opacity=opacity(0.75, 0.15))
        )
        line = table("bars").encode(y=y("below"), color=own, opacity=opacity(1.0, 0.2))
        layers: list[Any] = [points]
        for low, high in (("low", "high"), ("minus_high", "minus_low")):
            band = table("bars").transform_filter("isValid(datum.low) && isValid(datum.high)")
            band = band.mark_rule(strokeWidth=9, strokeCap="butt")
            layers.append(band.encode(x=x(low), x2=f"{high}:Q", y=y("below"), color=own, opacity=opacity(0.3, 0.1)))
        layers.append(line.mark_rule(strokeWidth=2.5).encode(x=x("minus_sd"), x2="sd:Q"))
        name = table("bars").mark_text(align="left", baseline="bottom", fontWeight=600, color=INK.light)
        layers.append(name.encode(x=alt.value(0), y=y("name_at"), text="name:N"))
        said = table("bars").mark_text(align="right", baseline="bottom", color=MUTED.light)
        layers.append(said.encode(x=alt.value("width"), y=y("name_at"), text="said:N"))
        if not still:
            hover = table().mark_circle(size=160, opacity=0).encode(x=x("x"), y=y("y"))
            layers.append(hover.encode(tooltip=[alt.Tooltip(f"{field}:N") for field in ("level", "score")]))
        return specification(layers, data={"rows": dots, "bars": bars}, height=ROW * len(pairs))

    return build


def _dots(group: SpreadGroup, source: Source, scale: float, place: int) -> list[dict[str, Any]]:
    """The finals of one level, ``above`` how many at the same place; scores that hardly tie are put into bins to be stacked."""
    scores = group.scores[source.level]
    mean = sum(scores) / len(scores) if scores else 0.0
    away = [scale * (score - mean) for score in scores]
    if len({round(x, 9) for x in away}) > _BINS // 2:
        width = 2 * max(map(abs, away)) / _BINS
        away = [round(x / width) * width for x in away]
    seen: Counter[float] = Counter()
    dots: list[dict[str, Any]] = []
    for at, score in zip((round(x, 9) for x in away), scores, strict=True):
        dots.append({"level": source.level, "x": at, "row": place, "above": seen[at], "score": f"{scale * score:.4g}"})
        seen[at] += 1
    return dots


def _bar(group: SpreadGroup, source: Source, goal: Goal, scale: float, place: int) -> dict[str, Any]:
    low, high = (None if end is None else scale * end for end in source.interval or (None, None))
    sd = scale * (source.sd or 0.0)
    size, ends = deviation(source, goal.metric)
    return {
        "level": source.level,
        "name": source.label if not group.at else f"{source.label}, {group.at}",
        "said": f"{size} {ends}".strip(),
        "sd": sd,
        "minus_sd": -sd,
        "low": low,
        "high": high,
        "minus_low": None if low is None else -low,
        "minus_high": None if high is None else -high,
        "below": place - _BELOW / ROW,
        "name_at": place + (_STACK + 4) / ROW,
    }
