"""The chart of the search: what each heat tried of one hole, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from analysis import units
from analysis.ledger import Goal
from analysis.records import Status, TrialRecord
from reports import theme
from reports.curve_chart import HEIGHT
from reports.curves import number
from reports.figure import Build
from reports.reduce import score
from reports.space import Hole
from reports.theme import colour, opacity, specification, table


def scatter(heats: Mapping[str, Sequence[TrialRecord]], goal: Goal, hole: Hole, labels: Sequence[str]) -> Build:
    """Each heat's value of one hole against its best validation, stopped heats hollow; heats by level's label."""
    rows = [row for label, group in heats.items() for record in group if (row := _dot(record, label, goal, hole))]
    domain = seen([row["y"] for row in rows], goal.mode)
    ends = extent([row["x"] for row in rows])

    def build(still: bool) -> dict[str, Any]:
        import altair as alt

        # Named, since a layer without a row (no heat was stopped) would have none.
        scale = alt.Scale(type="log" if hole.log else "linear", domain=ends, nice=False, padding=12)
        axis = alt.Axis(format="~e" if hole.log else "~g", tickCount=4 if hole.log else 6)
        x = alt.X("x:Q", title=hole.path, scale=scale, axis=axis)
        base = table().encode(x=x, y=theme.score("y", goal, domain, clamp=True), color=colour(labels))
        if not still:
            named = (
                ("level", "level"),
                ("value", hole.path),
                ("said", goal.metric),
                ("status", "status"),
                ("trial", "trial"),
            )
            base = base.encode(tooltip=[alt.Tooltip(f"{field}:N", title=title) for field, title in named])
        hollow = base.transform_filter("datum.stopped").mark_point(size=44, strokeWidth=1.5)
        full = base.transform_filter("!datum.stopped").mark_point(size=56, filled=True)
        layers = [hollow.encode(opacity=opacity(0.75, 0.08)), full.encode(opacity=opacity(0.9, 0.08))]
        return specification(layers, data={"rows": rows}, height=HEIGHT)

    return build


def extent(values: Sequence[float]) -> list[float]:
    """The least and the greatest value, a little apart where they are one; 0 and 1 for none."""
    if not values:
        return [0.0, 1.0]
    low, high = min(values), max(values)
    return [low, high] if low < high else [low - (abs(low) or 1.0) / 2, high + (abs(high) or 1.0) / 2]


def seen(scores: Sequence[float], mode: str) -> tuple[float, float]:
    """The window of the scores: a few ruined heats, the worst tenth, do not press the others into a line."""
    if not scores:
        return 0.0, 1.0
    worst = float(np.quantile(scores, 0.1 if mode == "max" else 0.9))
    best = max(scores) if mode == "max" else min(scores)
    margin = 0.06 * abs(best - worst) or 0.05 * abs(best) or 0.05
    return min(best, worst) - margin, max(best, worst) + margin


def _dot(record: TrialRecord, label: str, goal: Goal, hole: Hole) -> dict[str, Any] | None:
    x, y = number(record.point.get(hole.path)), score(record, goal)
    if x is None or y is None:
        return None
    return {
        "level": label,
        "x": x,
        "y": y,
        "value": units.label(x),
        "said": units.value(y, goal.metric),
        "stopped": record.status is not Status.COMPLETED,
        "status": record.status.value.replace("_", " "),
        "trial": record.id,
    }
