"""The chart of the learning rate by epoch: what a schedule did, at each level's own peak."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from analysis.records import TrialRecord
from reports.curves import number
from reports.figure import Build
from reports.reduce import thin
from reports.scaling_chart import ticks
from reports.theme import colour, epochs, opacity, specification, table

HEIGHT = 300
DOTTED = 12
"""Up to so many epochs each has a dot: between them the rate is not known, and a line alone would say it fell evenly."""
DEPTH = 1000.0
"""A rate is drawn down to this part of the highest one: a schedule that ends at 0 has no place on a logarithmic axis."""


def rates(finals: Mapping[str, Sequence[TrialRecord]]) -> list[dict[str, Any]]:
    """Rows of level, epoch and learning rate from each level's longest final; its point is the same in all of them."""
    rows: list[dict[str, Any]] = []
    for label, records in finals.items():
        history = max((record.history for record in records), key=len)
        pairs = [(number(row.get("epoch")), number(row.get("lr"))) for row in history]
        known = [(epoch, lr) for epoch, lr in pairs if epoch is not None and lr is not None and lr > 0]
        rows += [{"level": label, "x": epoch, "lr": lr, "said": f"{lr:.2g}"} for epoch, lr in thin(known)]
    return rows


def reach(rows: Sequence[Mapping[str, Any]]) -> tuple[float, float]:
    """The lowest and the highest rate that are drawn."""
    top = float(max(row["lr"] for row in rows))
    return max(float(min(row["lr"] for row in rows)), top / DEPTH), top


def rate_curves(rows: Sequence[Mapping[str, Any]], labels: Sequence[str]) -> Build:
    """A line for each level over the epochs, on a logarithmic axis."""
    low, top = reach(rows)
    drawn = [{**row, "y": max(row["lr"], low)} for row in rows]
    dotted = len({row["x"] for row in rows}) <= DOTTED

    def build(still: bool) -> dict[str, Any]:
        import altair as alt

        domain = low / (top / low) ** 0.03, top * (top / low) ** 0.03
        scale = alt.Scale(type="log", domain=domain if low < top else [low / 2, top * 2], nice=False, clamp=True)
        axis = alt.Axis(values=ticks(*domain), format="~e") if low < top else alt.Axis(format="~e", tickCount=3)
        y = alt.Y("y:Q", title="learning rate", scale=scale, axis=axis)
        base = table().encode(x=epochs(), y=y, color=colour(labels))
        layers: list[Any] = [base.mark_line(strokeWidth=2.25).encode(opacity=opacity(1.0, 0.12))]
        if dotted:
            layers.append(base.mark_point(size=26, filled=True).encode(opacity=opacity(1.0, 0.12)))
        if not still:
            named = (("level:N", "level"), ("x:Q", "epoch"), ("said:N", "learning rate"))
            hover = base.mark_point(size=240, filled=True, opacity=0)
            layers.append(hover.encode(tooltip=[alt.Tooltip(field, title=title) for field, title in named]))
        return specification(layers, data={"rows": drawn}, height=HEIGHT)

    return build
