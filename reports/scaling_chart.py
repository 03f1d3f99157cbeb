"""The chart of throughput against workers: a line a group, its points in the levels' colours, and the ideal dashed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from analysis import units
from analysis.scaling import Scaling, ScalingGroup, ScalingPoint
from reports.curve_chart import HEIGHT, spread
from reports.figure import Build
from reports.palette import INK, MUTED
from reports.theme import colour, opacity, specification, table
from reports.whisker import round_ticks

DIRECT = 16
"""Labels up to so many characters are written beside the ends of the lines."""

_GAP = 17
"""Pixels between the labels beside the ends."""

SHAPES = (("circle", "●"), ("square", "■"), ("triangle-up", "▲"), ("diamond", "◆"))
"""How a group's points are drawn, and the sign for it in a text: colour is the level's, on the whole page."""


def shapes(groups: Sequence[ScalingGroup]) -> dict[str, tuple[str, str]]:
    """The shape of each group's points with its sign, by the group's label; from the fifth on they come again."""
    return {group.label: SHAPES[place % len(SHAPES)] for place, group in enumerate(groups)}


def throughput(scaling: Scaling, labels: Sequence[str]) -> Build:
    """Samples a second by workers, both axes logarithmic, so that the ideal lines are straight; ``labels`` of levels in order."""
    rows = [_row(group, point) for group in scaling.groups for point in group.points if point.throughput is not None]
    ideal = [row for group in scaling.groups for row in _ideal(group)]
    domain = _domain(rows, ideal)
    counts = sorted({int(row["x"]) for row in rows})
    ends = _ends(rows, ideal, domain)
    drawn = shapes(scaling.groups)
    direct = labelled(list(drawn))
    data = {"rows": rows, "ideal": ideal, "ends": ends if direct else []}

    def build(still: bool) -> dict[str, Any]:
        import altair as alt

        reach = [counts[0] / 2**0.15, counts[-1] * 2**0.15]
        x = alt.X(
            "x:Q",
            title="workers",
            scale=alt.Scale(type="log", base=2, domain=reach, nice=False),
            axis=alt.Axis(values=counts, format="d", labelOverlap=False),
        )

        def y(field: str) -> alt.Y:
            scale = alt.Scale(type="log", domain=list(domain), nice=False)
            axis = alt.Axis(values=ticks(*domain), format="~s")
            return alt.Y(f"{field}:Q", title="samples a second", scale=scale, axis=axis)

        dashed = table("ideal").mark_line(strokeDash=[4, 4], strokeWidth=1.25, color=MUTED.light)
        layers: list[Any] = [dashed.encode(x=x, y=y("y"), detail="group:N", opacity=alt.value(0.7))]
        lines = table().mark_line(strokeWidth=1.5, color=MUTED.light)
        layers.append(lines.encode(x=x, y=y("y"), detail="group:N"))
        base = table().encode(x=x, color=colour(labels), opacity=opacity(1.0, 0.15))
        bars = base.transform_filter("isValid(datum.low) && isValid(datum.high)")
        layers.append(bars.mark_rule(strokeWidth=2.25).encode(y=y("low"), y2="high:Q"))
        for end in ("low", "high"):
            layers.append(bars.mark_tick(orient="horizontal", size=10, thickness=2).encode(y=y(end)))
        forms = alt.Scale(domain=list(drawn), range=[form for form, _ in drawn.values()])
        shaped = base.mark_point(size=90, filled=True)
        layers.append(shaped.encode(y=y("y"), shape=alt.Shape("group:N", legend=None, scale=forms)))
        if not still:
            hover = table().mark_point(size=400, filled=True, opacity=0).encode(x=x, y=y("y"))
            layers.append(hover.encode(tooltip=[alt.Tooltip(f"{name}:N", title=title) for name, title in _TOOLTIP]))
        if direct:
            text = table("ends").mark_text(align="left", dx=12, fontWeight=600, color=INK.light)
            text = text.encode(x=x, y=y("place"), text="text:N")
            layers.append(text.transform_filter("!datum.ideal"))
            muted = table("ends").mark_text(align="left", dx=12, color=MUTED.light)
            layers.append(muted.transform_filter("datum.ideal").encode(x=x, y=y("place"), text="text:N"))
        # The labels are fitted in as wide as they are measured; a reader's font may be wider.
        right = 14 + 2 * max(len(end["text"]) for end in ends) if direct else 14
        return specification(layers, data=data, height=HEIGHT, right=right)

    return build


def labelled(labels: Sequence[str]) -> bool:
    """True when the labels are short enough to stand beside the ends of their lines."""
    return all(len(label) <= DIRECT for label in labels)


def ticks(low: float, high: float) -> list[float]:
    """Round values on a logarithmic axis: evenly spaced ones below a factor of 4, else about 4 to 8, closer at its low end."""
    if high < 4 * low:
        return list(round_ticks(low, high))
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    found: list[float] = []
    for steps in ((1.0,), (1.0, 3.0), (1.0, 2.0, 5.0), (1.0, 1.5, 2.0, 3.0, 5.0, 7.0)):
        found = [tick for power in powers for step in steps if low <= (tick := round(step * 10.0**power, 9)) <= high]
        if len(found) >= 4:
            break
    return found


_TOOLTIP = (("level", "level"), ("said", "samples a second"), ("times", "times as fast"))


def _row(group: ScalingGroup, point: ScalingPoint) -> dict[str, Any]:
    low, high = point.interval or (None, None)
    return {
        "group": group.label,
        "level": point.label,
        "x": point.workers,
        "y": point.throughput,
        "low": low,
        "high": high,
        "said": f"{units.count(point.throughput)} {units.interval(point.interval, units.count)}".strip(),
        "times": units.DASH if point.speed_up is None else f"{point.speed_up:.2f}",
    }


def _ideal(group: ScalingGroup) -> list[dict[str, Any]]:
    """The two ends of a group's ideal line: as many times the fewest workers' throughput as there are workers."""
    known = [point for point in group.points if point.throughput is not None]
    if len(known) < 2:
        return []
    base, most = known[0], known[-1]
    assert base.throughput is not None
    return [
        {"group": group.label, "x": point.workers, "y": base.throughput * point.workers / base.workers}
        for point in (base, most)
    ]


def _domain(rows: Sequence[Mapping[str, Any]], ideal: Sequence[Mapping[str, Any]]) -> tuple[float, float]:
    values = [row[name] for row in rows for name in ("y", "low", "high") if row[name] is not None]
    values += [row["y"] for row in ideal]
    margin = (max(values) / min(values)) ** 0.06
    margin = max(margin, 1.05)
    return min(values) / margin, max(values) * margin


def _ends(
    rows: Sequence[Mapping[str, Any]], ideal: Sequence[Mapping[str, Any]], domain: tuple[float, float]
) -> list[dict[str, Any]]:
    """The labels beside the ends of the lines, apart from one another: each group's, and ``ideal`` at the highest of those."""
    last: dict[str, Mapping[str, Any]] = {str(row["group"]): row for row in rows}
    ends = [{"text": label, "x": row["x"], "y": row["y"], "ideal": False} for label, row in last.items()]
    if ideal:
        top = max(ideal, key=lambda row: float(row["y"]))
        ends.append({"text": "ideal", "x": top["x"], "y": top["y"], "ideal": True})
    gap = (math.log(domain[1]) - math.log(domain[0])) * _GAP / HEIGHT
    places = spread([math.log(end["y"]) for end in ends], gap)
    return [{**end, "place": math.exp(place)} for end, place in zip(ends, places, strict=True)]
