"""The chart of the heats' curves: a thin line for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from analysis import units
from analysis.ledger import Goal
from analysis.records import TrialRecord
from reports.curve_chart import HEIGHT
from reports.curves import CurvePoint, number, window
from reports.figure import Build
from reports.reduce import score as final_score
from reports.reduce import thin
from reports.theme import colour, epochs, opacity, score, specification, table


def single_curves(records: Mapping[str, Sequence[TrialRecord]], goal: Goal, labels: Sequence[str]) -> Build:
    """A line for each trial, validation by epoch, at most 50 points a line; records by level's label."""
    lines = [_line(record, label, goal) for label, group in records.items() for record in group]
    rows = [row for line in lines for row in line]
    points = [
        CurvePoint(
            level=row["level"], epoch=int(row["x"]), seconds=None, mean=row["y"], low=row["y"], high=row["y"], n=1
        )
        for row in rows
    ]
    domain = window(points, goal.mode, None) if points else (0.0, 1.0)
    # A heat that was stopped after one epoch is a dot without a line.
    data = {"rows": rows, "ends": [line[-1] for line in lines if line]}

    def build(still: bool) -> dict[str, Any]:
        import altair as alt

        x, y = epochs(), score("y", goal, domain)
        base = table().encode(x=x, y=y, detail="trial:N", color=colour(labels))
        layers: list[Any] = [base.mark_line(strokeWidth=1, clip=True).encode(opacity=opacity(0.5, 0.05))]
        dots = table("ends").mark_point(size=16, filled=True, clip=True).encode(x=x, y=y, color=colour(labels))
        layers.append(dots.encode(opacity=opacity(0.9, 0.05)))
        if not still:
            # A line of one pixel cannot be met by a pointer.
            named = (
                ("level:N", "level"),
                ("trial:N", "trial"),
                ("said:N", f"best {goal.metric}"),
                ("status:N", "status"),
            )
            wide = base.mark_line(strokeWidth=9, clip=True).encode(opacity=alt.value(0.001))
            layers.append(wide.encode(tooltip=[alt.Tooltip(field, title=title) for field, title in named]))
        return specification(layers, data=data, height=HEIGHT)

    return build


def _line(record: TrialRecord, label: str, goal: Goal) -> list[dict[str, Any]]:
    steps = [(number(row.get("epoch")), number(row.get(f"val/{goal.metric}"))) for row in record.history]
    fixed = {
        "level": label,
        "trial": record.id,
        "status": record.status.value.replace("_", " "),
        "said": units.value(final_score(record, goal), goal.metric),
    }
    return [{**fixed, "x": x, "y": y} for x, y in thin([(x, y) for x, y in steps if x is not None and y is not None])]
