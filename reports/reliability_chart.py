"""The reliability diagram: how often a classifier is right, against how sure it was."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from reports.palette import MUTED, PAPER, series
from reports.theme import specification, table

SIZE = 420
"""Pixels of the plot's side, drawn at twice as many."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    """Samples of about one confidence: their mean ``confidence``, the share that is right with its interval, their number."""

    confidence: float
    accuracy: float
    low: float
    high: float
    count: int


def drawn(groups: Mapping[str, Sequence[Point]]) -> dict[str, Any]:
    """The diagram as Vega-Lite, a colour for each labelled group; on the dashed diagonal confidence is right."""
    import altair as alt

    colours = series(list(groups))
    rows = [asdict(point) | {"level": label} for label, points in groups.items() for point in points]
    low = max(0.0, min([0.9, *(min(row["low"], row["confidence"]) for row in rows)]) // 0.1 / 10)
    scale = alt.Scale(domain=[low, 1.0], nice=False, zero=False)
    axis = alt.Axis(labelExpr="format(datum.value * 100, '~g') + ' %'", tickCount=6)
    x = alt.X("confidence:Q", title="confidence", scale=scale, axis=axis)
    colour = alt.Color(
        "level:N",
        scale=alt.Scale(domain=list(colours), range=list(colours.values())),
        legend=alt.Legend(title=None, orient="bottom", symbolType="circle", symbolOpacity=1),
    )

    def y(field: str) -> alt.Y:
        return alt.Y(f"{field}:Q", title="accuracy", scale=scale, axis=axis)

    diagonal = table("diagonal").mark_line(strokeDash=[4, 4], strokeWidth=1.5, color=MUTED.light)
    area = alt.Size("count:Q", legend=None, scale=alt.Scale(type="sqrt", range=[20, 260], zero=True))
    layers: list[Any] = [diagonal.encode(x=x, y=y("accuracy"))]
    for place, label in enumerate(groups):
        # Side by side, or the whiskers of one confidence would hide each other.
        aside = 5 * (place - (len(groups) - 1) / 2)
        base = table().transform_filter(alt.datum.level == label).encode(x=x, color=colour)
        layers.append(base.mark_rule(strokeWidth=1.5, opacity=0.6, xOffset=aside).encode(y=y("low"), y2="high:Q"))
        layers.append(base.mark_point(filled=True, opacity=0.9, xOffset=aside).encode(y=y("accuracy"), size=area))
    ends = [{"confidence": end, "accuracy": end} for end in (low, 1.0)]
    whole = specification(layers, data={"rows": rows, "diagonal": ends}, height=SIZE)
    padding = {"left": 12, "right": 20, "top": 28, "bottom": 12}
    return whole | {"width": SIZE, "background": PAPER.light, "padding": padding, "autosize": {"type": "pad"}}


def write(path: Path, groups: Mapping[str, Sequence[Point]]) -> None:
    """Draw the diagram into a PNG file. Raises OSError where it cannot be written."""
    import vl_convert

    path.write_bytes(vl_convert.vegalite_to_png(drawn(groups), scale=2))
