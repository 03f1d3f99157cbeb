"""The charts of the search: what each heat tried and what came of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from analysis.ledger import Goal
from analysis.records import Status, TrialRecord
from reports.curve_chart import HEIGHT
from reports.curves import number
from reports.figure import Build
from reports.palette import FIFTHS, INK, MUTED, RULE
from reports.reduce import score
from reports.space import Hole
from reports.theme import colour, opacity, picked, specification


def scatter(heats: Mapping[str, Sequence[TrialRecord]], goal: Goal, hole: Hole, labels: Sequence[str]) -> Build:
    """Each heat's value of one hole against its best validation; stopped heats are hollow. Heats by level's label."""
    rows = [
        {
            "level": label,
            "x": number(record.point.get(hole.path)),
            "y": score(record, goal),
            "stopped": record.status is not Status.COMPLETED,
            "status": record.status.value,
            "trial": record.id,
        }
        for label, records in heats.items()
        for record in records
        if number(record.point.get(hole.path)) is not None and score(record, goal) is not None
    ]
    scores = [row["y"] for row in rows]
    # A few ruined heats would press all the others into a line.
    worst = float(np.quantile(scores, 0.1 if goal.mode == "max" else 0.9)) if scores else 0.0
    best = (max if goal.mode == "max" else min)(scores, default=1.0)
    margin = 0.06 * abs(best - worst) or 0.05 * abs(best) or 0.05
    domain = [min(best, worst) - margin, max(best, worst) + margin]
    for row in rows:
        row["beyond"] = not domain[0] <= row["y"] <= domain[1]

    def build(width: int | str, still: bool) -> dict[str, Any]:
        import altair as alt

        scale = alt.Scale(type="log" if hole.log else "linear", nice=False, zero=False, padding=10)
        axis = alt.Axis(format="~g", tickCount=5) if not hole.log else alt.Axis(format="~e", tickCount=4)
        x = alt.X("x:Q", title=hole.path, scale=scale, axis=axis)
        y = alt.Y("y:Q", title=f"best validation {goal.metric}", scale=alt.Scale(domain=domain, nice=False, clamp=True))
        tooltip = ["level:N", alt.Tooltip("x:Q", title=hole.path, format=".3~g"), alt.Tooltip("y:Q", format=".4~g"), "status:N", "trial:N"]
        base = alt.Chart(alt.Data(values=rows)).encode(x=x, y=y, color=colour(labels), tooltip=tooltip)
        hollow = base.transform_filter("datum.stopped").mark_point(size=42, strokeWidth=1.5)
        full = base.transform_filter("!datum.stopped").mark_point(size=52, filled=True)
        layers = alt.layer(hollow.encode(opacity=opacity(0.7, 0.08)), full.encode(opacity=opacity(0.9, 0.08)))
        return specification(layers.add_params(picked()), width=width, height=HEIGHT)

    return build


def fifths(records: Sequence[TrialRecord], goal: Goal) -> dict[str, int]:
    """For each trial that has a score the fifth in which it lies, 0 the best; few ruined ones do not stretch the rest."""
    scored = {record.id: value for record in records if (value := score(record, goal)) is not None}
    if not scored:
        return {}
    cuts = np.quantile([-goal.sign * value for value in scored.values()], (0.2, 0.4, 0.6, 0.8))
    return {name: int(np.searchsorted(cuts, -goal.sign * value, side="left")) for name, value in scored.items()}


def parallel(heats: Mapping[str, Sequence[TrialRecord]], goal: Goal, found: Sequence[Hole]) -> Build:
    """Parallel coordinates: an axis for each hole, the last for the score; the best fifth drawn last and darkest."""
    records = [record for group in heats.values() for record in group if score(record, goal) is not None]
    level = {record.id: label for label, group in heats.items() for record in group}
    scores = sorted({value for record in records if (value := score(record, goal)) is not None})
    result = Hole(path=goal.metric, numeric=True, log=False, values=tuple(scores))
    axes = [*found, result]
    names = [f"{hole.path}" for hole in axes]
    which = fifths(records, goal)
    rows = []
    for record in sorted(records, key=lambda record: -which[record.id]):
        for name, hole in zip(names, axes, strict=True):
            value = score(record, goal) if hole is result else record.point.get(hole.path)
            if (place := hole.place(value)) is not None:
                rows.append(
                    {
                        "trial": record.id,
                        "level": level[record.id],
                        "axis": name,
                        "place": place,
                        "value": _short(value),
                        "fifth": which[record.id],
                    }
                )
    ticks = [
        {"axis": name, "place": hole.place(value), "text": _short(value)}
        for name, hole in zip(names, axes, strict=True)
        for value in ([hole.values[0], hole.values[-1]] if hole.numeric else hole.values)
    ]

    def build(width: int | str, still: bool) -> dict[str, Any]:
        import altair as alt

        short = {name: name.split(".")[-1] for name in names}
        distinct = len(set(short.values())) == len(names)
        shown = [short[name] if distinct else name for name in names]
        named = dict(zip(names, shown, strict=True))
        data = [{**row, "axis": named[row["axis"]]} for row in rows]
        x = alt.X("axis:N", sort=shown, title=None, scale=alt.Scale(padding=0.3), axis=alt.Axis(labelAngle=0, labelFontSize=12))
        y = alt.Y("place:Q", axis=None, scale=alt.Scale(domain=[-0.06, 1.06], nice=False))
        shade = alt.Color("fifth:O", legend=None, scale=alt.Scale(domain=list(range(5)), range=[c.light for c in FIFTHS]))
        rules = alt.Chart(alt.Data(values=[{"axis": name} for name in shown])).mark_rule(color=RULE.light, strokeWidth=1.5)
        base = alt.Chart(alt.Data(values=data)).encode(x=x, y=y, detail="trial:N", color=shade)
        layers: list[Any] = [rules.encode(x=x), base.mark_line(strokeWidth=1.3).encode(opacity=opacity(0.75, 0.05))]
        words = alt.Chart(alt.Data(values=[{**tick, "axis": named[tick["axis"]]} for tick in ticks]))
        layers.append(words.mark_text(fontSize=11, color=MUTED.light, dx=6, align="left").encode(x=x, y=y, text="text:N"))
        if not still:
            tooltip = ["level:N", "trial:N", "axis:N", "value:N"]
            layers.append(base.mark_line(strokeWidth=9).encode(opacity=alt.value(0.001), tooltip=tooltip))
        return specification(alt.layer(*layers).add_params(picked()), width=width, height=HEIGHT, right=40)

    return build


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, int | float) and not isinstance(value, bool) else str(value)
