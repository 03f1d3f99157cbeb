"""The chart of the training loss within epochs, where a run has few of them and notes it by step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from analysis.records import Stage, Status, TrialRecord
from analysis.steps import place, read
from reports.curve import PLAIN
from reports.curve_chart import HEIGHT
from reports.curves import number
from reports.figure import Build, Figure, figure
from reports.labels import Labels
from reports.palette import swatch
from reports.reduce import thin
from reports.theme import colour, opacity, specification, table

FEW = 5
"""Curves by epoch of so many epochs say little; of more, they say enough."""

POINTS = 200
"""At most so many points on a curve."""


def section(folder: Path | None, records: Sequence[TrialRecord], labels: Labels) -> list[Figure]:
    """The finals' training loss by step; nothing where epochs are many, or nothing was noted within them."""
    finals = [r for r in records if r.stage is Stage.FINAL and r.status is not Status.RUNNING and r.epochs]
    if folder is None or not finals or max(record.epochs for record in finals) > FEW:
        return []
    groups = {label: _curve(folder, group) for label, group in labels.grouped(finals).items()}
    groups = {label: curve for label, curve in groups.items() if curve}
    if not groups:
        return []
    legend = [(label, swatch(labels.place(label))) for label in groups] if len(groups) > 1 else []
    return [
        figure(
            name="curves-step",
            title="Within the epochs",
            caption="Training loss of the finals, as it was noted between validations: the mean over seeds of the mean since the "
            "point before.",
            described=f"Line chart of the training loss within epochs for {', '.join(groups)}.",
            legend=legend,
            build=_lines(groups, labels.order),
        )
    ]


def _curve(folder: Path, finals: Sequence[TrialRecord]) -> list[dict[str, float]]:
    """The mean curve of a level's finals, over the parts of epochs that all of them have noted."""
    runs: list[dict[int, tuple[float, float]]] = []
    for record in finals:
        samples = number(record.history[0].get("samples")) if record.history else None
        points = [(row, number(row.get("loss"))) for row in read(place(folder, record.id))]
        known = {row["step"]: (row["samples"] / samples, loss) for row, loss in points if samples and loss is not None}
        if known:
            runs.append(known)
    if not runs:
        return []
    steps = sorted(set.intersection(*(set(run) for run in runs)))
    return [
        {
            "step": step,
            "x": float(np.mean([run[step][0] for run in runs])),
            "y": float(np.mean([run[step][1] for run in runs])),
        }
        for step in thin(steps, POINTS)
    ]


def _lines(groups: Mapping[str, Sequence[Mapping[str, float]]], labels: Sequence[str]) -> Build:
    """A line for each level."""
    rows: list[dict[str, Any]] = [
        {"level": label, **point, "said": f"{point['y']:.4g}"} for label, curve in groups.items() for point in curve
    ]
    values = [row["y"] for row in rows]
    # As by epoch, the steep beginning may lie outside.
    low, high = min(values), max(float(np.quantile(values, 0.97)), min(values) + 1e-9)
    margin = 0.04 * (high - low)

    def build(still: bool) -> dict[str, Any]:
        import altair as alt

        axis = alt.Axis(labelExpr=PLAIN, tickCount=8)
        x = alt.X("x:Q", title="epoch", scale=alt.Scale(nice=False, zero=True), axis=axis)
        scale = alt.Scale(domain=[low - margin, high + margin], nice=False, zero=False)
        y = alt.Y("y:Q", title="training loss", scale=scale, axis=alt.Axis(tickCount=6, labelExpr=PLAIN))
        base = table().encode(x=x, y=y, color=colour(labels))
        layers: list[Any] = [base.mark_line(strokeWidth=2, clip=True).encode(opacity=opacity(1.0, 0.12))]
        if not still:
            named = (("level:N", "level"), ("step:Q", "step"), ("said:N", "training loss"))
            hover = base.mark_point(size=240, filled=True, opacity=0, clip=True)
            layers.append(hover.encode(tooltip=[alt.Tooltip(field, title=title) for field, title in named]))
        return specification(layers, data={"rows": rows}, height=HEIGHT)

    return build
