"""The chart of the finals' learning curves: means with bands, each level's name at the end of its curve."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from analysis import units
from analysis.ledger import Goal
from reports.curves import CurvePoint, window
from reports.figure import Build
from reports.palette import MUTED
from reports.theme import colour, epochs, opacity, score, seconds, specification, table

if TYPE_CHECKING:
    import altair as alt

HEIGHT = 340
"""Of the charts, in pixels."""
DIRECT = 12
"""Labels up to so many characters are written beside the ends of the curves."""


def spread(values: Sequence[float], gap: float) -> list[float]:
    """Places near the values, in the same order, at least ``gap`` apart: where labels beside the ends of curves can stand."""
    order = sorted(range(len(values)), key=lambda i: values[i])
    blocks: list[tuple[float, int]] = []  # centre of each block of labels, and how many are in it
    for i in order:
        blocks.append((values[i], 1))
        while len(blocks) > 1 and blocks[-1][0] - blocks[-2][0] < gap * (blocks[-1][1] + blocks[-2][1]) / 2:
            (upper, m), (lower, n) = blocks.pop(), blocks.pop()
            blocks.append(((upper * m + lower * n) / (m + n), m + n))
    places = [centre + (k - (count - 1) / 2) * gap for centre, count in blocks for k in range(count)]
    result = [0.0] * len(values)
    for i, place in zip(order, places, strict=True):
        result[i] = place
    return result


def beside(ends: Sequence[Mapping[str, Any]], height: float) -> list[float]:
    """Where to write the labels of curves that end at (``x``, ``mean``): apart where they end below one another."""
    order = sorted(range(len(ends)), key=lambda i: ends[i]["x"])
    near = 0.09 * max(end["x"] for end in ends)
    clusters: list[list[int]] = []
    for i in order:
        if clusters and ends[i]["x"] - ends[clusters[-1][-1]]["x"] < near:
            clusters[-1].append(i)
        else:
            clusters.append([i])
    places = [0.0] * len(ends)
    for cluster in clusters:
        for i, place in zip(cluster, spread([ends[i]["mean"] for i in cluster], 15 * height / HEIGHT), strict=True):
            places[i] = place
    return places


def mean_curves(points: Sequence[CurvePoint], goal: Goal, labels: Sequence[str], *, by: str) -> Build:
    """Mean curves with their bands, over ``by``: ``epoch`` or ``seconds``; the window leaves out the steep beginning."""
    low, high = window(points, goal.mode, goal.target)
    rows = [_row(point, by, goal.metric) for point in points if by == "epoch" or point.seconds is not None]
    ends = [row for label in labels if (row := _last(rows, label)) is not None]
    direct = 1 < len(ends) <= 8 and all(len(end["level"]) <= DIRECT for end in ends)
    target = goal.target if goal.target is not None and low <= goal.target <= high else None
    data: dict[str, list[dict[str, Any]]] = {"rows": rows, "ends": [], "target": []}
    if target is not None:
        data["target"] = [{"y": target, "text": f"target {units.target(target, goal.metric)}"}]
    if direct:
        places = beside(ends, high - low)
        data["ends"] = [{**end, "place": place} for end, place in zip(ends, places, strict=True)]

    def build(still: bool) -> dict[str, Any]:
        import altair as alt

        x = epochs() if by == "epoch" else seconds()
        y = score("mean", goal, (low, high))
        base = table().encode(x=x, color=colour(labels))
        layers: list[Any] = [] if target is None else _target(goal, (low, high))
        area = base.mark_area(clip=True).encode(y=score("low", goal, (low, high)), y2="high:Q")
        layers.append(area.encode(opacity=opacity(0.14, 0.03)))
        layers.append(base.mark_line(strokeWidth=2.25, clip=True).encode(y=y, opacity=opacity(1.0, 0.12)))
        if not still:
            # The marks that a pointer meets: far larger than what is seen.
            hover = base.mark_point(size=240, filled=True, opacity=0, clip=True).encode(y=y)
            tooltip = [alt.Tooltip(field, title=title) for field, title in _tooltip(goal, by)]
            layers.append(hover.encode(tooltip=tooltip))
        if direct:
            text = table("ends").mark_text(align="left", dx=8, fontWeight=600)
            text = text.encode(x=x, y=score("place", goal, (low, high)), text="level:N", color=colour(labels))
            layers.append(text.encode(opacity=opacity(1.0, 0.25)))
        right = 18 + 8 * max(len(end["level"]) for end in ends) if direct else 14
        return specification(layers, data=data, height=HEIGHT, right=right)

    return build


def _target(goal: Goal, domain: tuple[float, float]) -> list[alt.Chart]:
    """A dashed line at the target, with its value in words."""
    import altair as alt

    rule = table("target").encode(y=score("y", goal, domain))
    words = rule.mark_text(align="left", baseline="bottom", dy=-3, color=MUTED.light, fontSize=11)
    return [rule.mark_rule(strokeDash=[3, 3], color=MUTED.light), words.encode(text="text:N", x=alt.value(4))]


def _tooltip(goal: Goal, by: str) -> list[tuple[str, str]]:
    by_seconds = [("time:N", "training time")] if by == "seconds" else []
    return [("level:N", "level"), ("epoch:Q", "epoch"), *by_seconds, ("said:N", goal.metric), ("n:Q", "finals")]


def _row(point: CurvePoint, by: str, metric: str) -> dict[str, Any]:
    band = units.interval((point.low, point.high), lambda x: units.number(x, metric))
    return {
        "level": point.level,
        "x": point.epoch if by == "epoch" else point.seconds,
        "epoch": point.epoch,
        "time": units.seconds(point.seconds),
        "mean": point.mean,
        "low": point.low,
        "high": point.high,
        "said": f"{units.value(point.mean, metric)} {band}",
        "n": point.n,
    }


def _last(rows: Sequence[dict[str, Any]], label: str) -> dict[str, Any] | None:
    of_level = [row for row in rows if row["level"] == label]
    return max(of_level, key=lambda row: float(row["x"])) if of_level else None
