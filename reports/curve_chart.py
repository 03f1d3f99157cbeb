"""The charts of curves: means with bands for the finals, thin single lines for the search."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from analysis.ledger import Goal
from analysis.records import TrialRecord
from reports.curves import CurvePoint, number, window
from reports.figure import Build
from reports.palette import MUTED
from reports.reduce import thin
from reports.theme import colour, opacity, picked, specification

HEIGHT = 340
_DIRECT = 12
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


def mean_curves(points: Sequence[CurvePoint], goal: Goal, labels: Sequence[str], *, by: str) -> Build:
    """Mean curves with their bands, over ``by``: ``epoch`` or ``seconds``; the window leaves out the steep beginning."""
    low, high = window(points, goal.mode, goal.target)
    rows = [_row(point, by) for point in points if by == "epoch" or point.seconds is not None]
    ends = [row for label in labels if (row := _last(rows, label)) is not None]
    direct = 1 < len(ends) <= 8 and all(len(end["level"]) <= _DIRECT for end in ends)

    def build(width: int | str, still: bool) -> dict[str, Any]:
        import altair as alt

        x = alt.X("x:Q", title="epoch" if by == "epoch" else "training seconds", scale=alt.Scale(nice=False, zero=False))
        y = alt.Y("mean:Q", title=f"validation {goal.metric}", scale=alt.Scale(domain=[low, high], nice=False))
        base = alt.Chart(alt.Data(values=rows)).encode(x=x, color=colour(labels))
        layers: list[Any] = [] if goal.target is None else [target_line(goal.target)] * (low <= goal.target <= high)
        layers.append(base.mark_area(clip=True).encode(y="low:Q", y2="high:Q", opacity=opacity(0.14, 0.03)))
        layers.append(base.mark_line(strokeWidth=2.25, clip=True).encode(y=y, opacity=opacity(1.0, 0.12)))
        if not still:
            # The marks that a pointer meets: far larger than what is seen.
            tooltip = ["level:N", alt.Tooltip("x:Q", title=by), alt.Tooltip("mean:Q", format=".4~g"), "band:N", "n:Q"]
            layers.append(base.mark_point(size=240, filled=True, opacity=0, clip=True).encode(y=y, tooltip=tooltip))
        if direct:
            places = spread([end["mean"] for end in ends], 15 * (high - low) / HEIGHT)
            named = [{**end, "place": place} for end, place in zip(ends, places, strict=True)]
            text = alt.Chart(alt.Data(values=named)).mark_text(align="left", dx=8, fontWeight=600)
            layers.append(
                text.encode(x=x, y="place:Q", text="level:N", color=colour(labels), opacity=opacity(1.0, 0.25))
            )
        chart = alt.layer(*layers).add_params(picked())
        right = 18 + 8 * max(len(end["level"]) for end in ends) if direct else 14
        return specification(chart, width=width, height=HEIGHT, right=right)

    return build


def single_curves(records: Mapping[str, Sequence[TrialRecord]], goal: Goal, labels: Sequence[str]) -> Build:
    """A thin line for each trial, validation by epoch, at most 50 points a line; records by level's label."""
    rows, points = [], []
    for label, group in records.items():
        for record in group:
            steps = [(number(row.get("epoch")), number(row.get(f"val/{goal.metric}"))) for row in record.history]
            for epoch, value in thin([(e, v) for e, v in steps if e is not None and v is not None]):
                rows.append({"level": label, "trial": record.id, "x": epoch, "y": value, "status": record.status.value})
                points.append(CurvePoint(level=label, epoch=int(epoch), seconds=None, mean=value, low=value, high=value, n=1))
    low, high = window(points, goal.mode, goal.target) if points else (0.0, 1.0)

    def build(width: int | str, still: bool) -> dict[str, Any]:
        import altair as alt

        y = alt.Y("y:Q", title=f"validation {goal.metric}", scale=alt.Scale(domain=[low, high], nice=False))
        x = alt.X("x:Q", title="epoch", scale=alt.Scale(nice=False, zero=False))
        base = alt.Chart(alt.Data(values=rows)).encode(x=x, y=y, detail="trial:N", color=colour(labels))
        layers: list[Any] = [base.mark_line(strokeWidth=1, clip=True).encode(opacity=opacity(0.55, 0.06))]
        # A trial that was stopped after one epoch has no line.
        ends = [row for i, row in enumerate(rows) if i + 1 == len(rows) or rows[i + 1]["trial"] != row["trial"]]
        dots = alt.Chart(alt.Data(values=ends)).mark_point(size=14, filled=True, clip=True)
        layers.append(dots.encode(x=x, y=y, color=colour(labels), opacity=opacity(0.9, 0.06)))
        if not still:
            layers.append(
                base.mark_line(strokeWidth=9, clip=True).encode(
                    opacity=alt.value(0.001), tooltip=["level:N", "trial:N", "status:N"]
                )
            )
        chart = alt.layer(*layers).add_params(picked())
        return specification(chart, width=width, height=HEIGHT)

    return build


def _row(point: CurvePoint, by: str) -> dict[str, Any]:
    band = f"{point.low:.4g} to {point.high:.4g}"
    x = point.epoch if by == "epoch" else point.seconds
    return {
        "level": point.level,
        "x": x,
        "mean": point.mean,
        "low": point.low,
        "high": point.high,
        "band": band,
        "n": point.n,
    }


def _last(rows: Sequence[dict[str, Any]], label: str) -> dict[str, Any] | None:
    of_level = [row for row in rows if row["level"] == label]
    return max(of_level, key=lambda row: float(row["x"])) if of_level else None


def target_line(target: float) -> Any:
    """A dashed line at the target, with its value in words."""
    import altair as alt

    rule = alt.Chart(alt.Data(values=[{"y": target, "text": f"target {target:g}"}])).encode(y="y:Q")
    line = rule.mark_rule(strokeDash=[3, 3], color=MUTED.light)
    words = rule.mark_text(align="left", baseline="bottom", dy=-3, color=MUTED.light, fontSize=11)
    return line + words.encode(text="text:N", x=alt.value(4))
