"""The picture of a batch-size search: samples a second by batch, the knee, and where memory ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from reports.curve_chart import HEIGHT
from reports.figure import Build
from reports.palette import INK, MUTED, PAPER, SERIES
from reports.scaling_chart import ticks
from reports.theme import specification, table


@dataclass(frozen=True, kw_only=True, slots=True)
class BatchPoint:
    """Samples a second of a batch: the median, the least and the most over rounds."""

    batch: int
    value: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True, slots=True)
class BatchEnd:
    """A vertical line at a batch with what it means: the first of them is dashed, as the measured end of memory, others dotted."""

    batch: int
    said: str


def throughput_by_batch(
    points: Sequence[BatchPoint], *, knee: int, ends: Sequence[BatchEnd] = (), height: int = HEIGHT
) -> Build:
    """A line with a bar for each batch, both axes logarithmic; the knee is the large dot."""
    rows = [
        {"x": point.batch, "y": point.value, "low": point.low, "high": point.high, "knee": point.batch == knee}
        for point in points
    ]
    first = min((end.batch for end in ends), default=0)
    lines = [
        {"x": end.batch, "beside": first, "text": f"{'dotted' if place else 'dashed'}: {end.said}", "turn": place}
        for place, end in enumerate(ends)
    ]
    batches = [point.batch for point in points]
    across = min(batches), max([*batches, *(end.batch for end in ends)])
    margin = max((across[1] / across[0]) ** 0.03, 1.15)
    reach = across[0] / margin, across[1] * margin
    span = min(point.low for point in points), max(point.high for point in points)
    slack = max((span[1] / span[0]) ** 0.08, 1.1)
    domain = span[0] / slack, span[1] * slack

    def build(still: bool) -> dict[str, Any]:  # noqa: ARG001
        import altair as alt

        shown = batches if len(batches) <= 12 else batches[:: -(-len(batches) // 12)]
        scale = alt.Scale(type="log", base=2, domain=list(reach), nice=False)

        def x(field: str) -> alt.X:
            axis = alt.Axis(values=shown, format="d")
            return alt.X(f"{field}:Q", title="samples at once", scale=scale, axis=axis)

        def y(field: str) -> alt.Y:
            vertical = alt.Scale(type="log", domain=list(domain), nice=False)
            axis = alt.Axis(values=ticks(*domain), format="~s")
            return alt.Y(f"{field}:Q", title="samples a second", scale=vertical, axis=axis)

        colour = SERIES[0].light
        words = table("ends").mark_text(align="right", dx=-6, fontSize=11, color=MUTED.light)
        layers: list[Any] = []
        for place in range(len(lines)):
            rule = table("ends").mark_rule(strokeDash=[2, 4] if place else [7, 4], strokeWidth=1.5, color=MUTED.light)
            layers.append(rule.transform_filter(f"datum.turn == {place}").encode(x=x("x")))
            text = words.transform_filter(f"datum.turn == {place}").encode(
                x=x("beside"), y=alt.value(height - 14 - 16 * place)
            )
            layers.append(text.encode(text="text:N"))
        base = table().encode(x=x("x"))
        layers.append(base.mark_line(strokeWidth=2.25, color=colour).encode(y=y("y")))
        layers.append(base.mark_rule(strokeWidth=2.25, color=colour).encode(y=y("low"), y2="high:Q"))
        dots = base.encode(y=y("y"))
        layers.append(dots.transform_filter("!datum.knee").mark_point(size=60, filled=True, opacity=1, color=colour))
        chosen = dots.transform_filter("datum.knee")
        layers.append(
            chosen.mark_point(size=190, filled=True, opacity=1, color=colour, stroke=PAPER.light, strokeWidth=2)
        )
        named = chosen.mark_text(align="left", baseline="top", dx=8, dy=8, fontWeight=600, color=INK.light)
        layers.append(named.encode(text="x:Q"))
        return specification(layers, data={"rows": rows, "ends": lines}, height=height)

    return build
