"""The chart of the whole search: parallel coordinates, an axis for each hole and one for the score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from analysis import units
from analysis.ledger import Goal
from analysis.records import Scalar, TrialRecord
from reports.curve_chart import HEIGHT
from reports.figure import Build
from reports.palette import FIFTHS, MUTED, PAPER, RULE
from reports.reduce import score
from reports.space import Hole, brief
from reports.theme import opacity, specification, table


def fifths(records: Sequence[TrialRecord], goal: Goal) -> dict[str, int]:
    """For each trial with a score the fifth in which it lies, 0 the best; a few ruined ones do not stretch the rest."""
    scored = {record.id: value for record in records if (value := score(record, goal)) is not None}
    if not scored:
        return {}
    cuts = np.quantile([-goal.sign * value for value in scored.values()], (0.2, 0.4, 0.6, 0.8))
    return {name: int(np.searchsorted(cuts, -goal.sign * value, side="left")) for name, value in scored.items()}


def parallel(heats: Mapping[str, Sequence[TrialRecord]], goal: Goal, found: Sequence[Hole]) -> Build:
    """A line for each heat that has a score; the best fifth drawn last and darkest. Heats by level's label."""
    records = [record for group in heats.values() for record in group if score(record, goal) is not None]
    level = {record.id: label for label, group in heats.items() for record in group}
    which = fifths(records, goal)
    scores = tuple(sorted({got for record in records if (got := score(record, goal)) is not None}))
    result = Hole(path=goal.metric, numeric=True, log=False, values=scores)
    named = _names([*found, result])
    rows: list[dict[str, Any]] = []
    for record in sorted(records, key=lambda record: -which[record.id]):
        fixed = {"trial": record.id, "level": level[record.id], "fifth": which[record.id]}
        for name, hole in named.items():
            value: Scalar = score(record, goal) if hole is result else record.point.get(hole.path)
            if (place := hole.place(value)) is not None:
                rows.append({**fixed, "axis": name, "place": place, "value": _said(value, hole is result, goal)})
    ticks = [
        {"axis": name, "place": hole.place(value), "text": _said(value, hole is result, goal)}
        for name, hole in named.items()
        for value in ((hole.values[0], hole.values[-1]) if hole.numeric else hole.values)
    ]
    data: dict[str, list[dict[str, Any]]] = {"rows": rows, "axes": [{"axis": name} for name in named], "ticks": ticks}

    def build(still: bool) -> dict[str, Any]:
        import altair as alt

        labels = alt.Axis(labelAngle=0, labelFontSize=12, domain=False)
        x = alt.X("axis:N", sort=list(named), title=None, scale=alt.Scale(type="point", padding=0.35), axis=labels)
        y = alt.Y("place:Q", axis=None, scale=alt.Scale(domain=[-0.05, 1.05], nice=False))
        shades = alt.Scale(domain=list(range(5)), range=[colour.light for colour in FIFTHS])
        base = table().encode(x=x, y=y, detail="trial:N", color=alt.Color("fifth:O", legend=None, scale=shades))
        layers: list[Any] = [table("axes").mark_rule(color=RULE.light, strokeWidth=1.5).encode(x=x)]
        layers.append(base.mark_line(strokeWidth=1.3).encode(opacity=opacity(0.8, 0.05)))
        # Twice: a halo of paper first, so that the lines do not run through the words.
        for width in (4, 0):
            words = table("ticks").mark_text(
                fontSize=11, color=MUTED.light, dx=6, align="left", stroke=PAPER.light, strokeWidth=width
            )
            layers.append(words.encode(x=x, y=y, text="text:N"))
        if not still:
            tooltip = [alt.Tooltip(f"{field}:N", title=field) for field in ("level", "trial", "axis", "value")]
            layers.append(base.mark_line(strokeWidth=9).encode(opacity=alt.value(0.001), tooltip=tooltip))
        return specification(layers, data=data, height=HEIGHT, right=24)

    return build


def _names(axes: Sequence[Hole]) -> dict[str, Hole]:
    """The axes by short names, or by whole paths where two short ones are the same."""
    short = {units.name(hole.path): hole for hole in axes}
    return short if len(short) == len(axes) else {hole.path: hole for hole in axes}


def _said(value: Scalar, is_score: bool, goal: Goal) -> str:
    if is_score and isinstance(value, int | float):
        return units.value(value, goal.metric)
    return brief(value)
