"""The picture of what averaging over views changes: a dot and an interval for each, against the line of no change."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from analysis import units
from reports.figure import Build
from reports.palette import INK, MUTED, REST, SERIES
from reports.theme import specification, table

ROW = 42
"""Pixels for each line."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ViewDifference:
    """The difference that some views make, with its interval; ``cost`` is how many times as long a pass takes."""

    name: str
    value: float
    low: float
    high: float
    cost: float


def differences(rows: Sequence[ViewDifference], *, metric: str) -> Build:
    """One line for each; those whose interval leaves out 0 are in colour. Intervals without ends are not drawn."""
    share = 100.0 if units.is_share(metric) else 1.0
    data = [_row(row, share) for row in rows]
    names = [row.name for row in rows]
    ends = [0.0, *(row[end] for row in data for end in ("x", "low", "high") if row[end] is not None)]
    margin = 0.08 * (max(ends) - min(ends)) or 1.0
    domain = [min(ends) - margin, max(ends) + margin]
    title = f"change of {metric}" + (", points" if share > 1 else "")

    def build(still: bool) -> dict[str, Any]:  # noqa: ARG001
        import altair as alt

        def x(field: str) -> alt.X:
            scale = alt.Scale(domain=domain, nice=False)
            return alt.X(f"{field}:Q", title=title, scale=scale, axis=alt.Axis(tickCount=6))

        y = alt.Y(
            "name:N", title=None, sort=names, axis=alt.Axis(labelLimit=240, labelFontSize=12, labelColor=INK.light)
        )
        tint = alt.Color(
            "told:N", legend=None, scale=alt.Scale(domain=[True, False], range=[SERIES[0].light, REST.light])
        )
        none = table("none").mark_rule(strokeWidth=1.5, color=MUTED.light, strokeDash=[4, 4]).encode(x=x("x"))
        bars = table().transform_filter("isValid(datum.low)").mark_rule(strokeWidth=2.5)
        dots = table().mark_point(size=120, filled=True, opacity=1).encode(x=x("x"), y=y, color=tint)
        words = table().mark_text(align="left", dx=10, fontSize=11, color=MUTED.light)
        words = words.encode(x=alt.value("width"), y=y, text="said:N")
        layers = [none, bars.encode(x=x("low"), x2="high:Q", y=y, color=tint), dots, words]
        return specification(layers, data={"rows": data, "none": [{"x": 0.0}]}, height=ROW * len(rows))

    return build


def _row(row: ViewDifference, share: float) -> dict[str, Any]:
    bounded = math.isfinite(row.low) and math.isfinite(row.high)
    return {
        "name": row.name,
        "x": share * row.value,
        "low": share * row.low if bounded else None,
        "high": share * row.high if bounded else None,
        "told": bounded and (row.low > 0 or row.high < 0),
        "said": f"{units.ratio(row.cost)} the time",
    }
