"""The reliability diagram: how often a classifier is right, against how sure it was."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import NormalDist
from typing import Any

from reports.curve_chart import HEIGHT
from reports.figure import Build
from reports.palette import MUTED, REST, SERIES
from reports.standalone import png, standing
from reports.theme import specification, table

SIZE = 420
"""Pixels of the picture's side, drawn at twice as many."""

LEAST = 10
"""Neighbouring bins are drawn as one until so many samples are in it: of two samples there is nothing to see."""

CONFIDENCE = 0.95
"""Of the intervals of such bins."""

_SHAPES = ("circle", "circle", "diamond", "square", "triangle-up")


@dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    """Samples of about one confidence: their mean ``confidence``, the share that is right with its interval, their number."""

    confidence: float
    accuracy: float
    low: float
    high: float
    count: int


Groups = Mapping[str, Sequence[Point]]
"""Points by the name of the answers that they belong to: those of one member first, then those of all together."""


def merged(points: Sequence[Point], least: int = LEAST) -> list[Point]:
    """The points from the least sure to the surest, neighbours made one until each has ``least`` samples, where there are so many.

    What is made one has the mean confidence and accuracy of its samples, and Wilson's interval.
    """
    bins: list[list[Point]] = []
    for point in sorted(points, key=lambda point: point.confidence):
        if bins and _count(bins[-1]) < least:
            bins[-1].append(point)
        else:
            bins.append([point])
    if len(bins) > 1 and _count(bins[-1]) < least:
        last = bins.pop()
        bins[-1] += last
    return [group[0] if len(group) == 1 else _joined(group) for group in bins]


def diagram(groups: Groups, colour: str, *, height: int = HEIGHT, key: bool = False) -> Build:
    """The diagram: the first group in grey, the others in ``colour`` and shapes of their own; dashed is where confidence is right.

    ``key`` adds a legend, for a picture that stands alone.
    """
    shown = {label: merged(points) for label, points in groups.items()}
    rows = [asdict(point) | {"level": label} | _said(point) for label, points in shown.items() for point in points]
    low = max(0.0, min([0.9, *(min(row["low"], row["confidence"]) for row in rows)]) // 0.1 / 10)
    ends = [{"confidence": end, "accuracy": end} for end in (low, 1.0)]
    word = [{"confidence": low + 0.02 * (1 - low), "accuracy": low + 0.02 * (1 - low), "text": "as sure as right"}]
    data = {"rows": rows, "diagonal": ends, "word": word}

    def build(still: bool) -> dict[str, Any]:
        import altair as alt

        scale = alt.Scale(domain=[low, 1.0], nice=False, zero=False, padding=12)
        axis = alt.Axis(labelExpr="format(datum.value * 100, '~g') + ' %'", tickCount=6)
        x = alt.X("confidence:Q", title="confidence", scale=scale, axis=axis)
        legend = alt.Legend(title=None, orient="bottom", symbolOpacity=1, symbolSize=90) if key else None
        colours = [REST.light, *(colour for _ in range(len(shown) - 1))] if len(shown) > 1 else [colour]
        shapes = [_SHAPES[place % len(_SHAPES)] for place in range(len(shown))]
        tint = alt.Color("level:N", legend=legend, scale=alt.Scale(domain=list(shown), range=colours))
        form = alt.Shape("level:N", legend=legend, scale=alt.Scale(domain=list(shown), range=shapes))

        def y(field: str) -> alt.Y:
            return alt.Y(f"{field}:Q", title="accuracy", scale=scale, axis=axis)

        diagonal = table("diagonal").mark_line(strokeDash=[4, 4], strokeWidth=1.5, color=MUTED.light)
        words = table("word").mark_text(align="left", dx=12, dy=4, color=MUTED.light, fontSize=11)
        layers: list[Any] = [diagonal.encode(x=x, y=y("accuracy"))]
        layers.append(words.encode(x=x, y=y("accuracy"), text="text:N"))
        area = alt.Size("count:Q", legend=None, scale=alt.Scale(type="sqrt", range=[30, 240], zero=True))
        for place, label in enumerate(shown):
            # Side by side, or the whiskers of one confidence would hide each other.
            aside = 4 * (place - (len(shown) - 1) / 2)
            base = table().transform_filter(alt.datum.level == label).encode(x=x, color=tint)
            layers.append(base.mark_rule(strokeWidth=1.5, opacity=0.6, xOffset=aside).encode(y=y("low"), y2="high:Q"))
            dots = base.mark_point(filled=True, opacity=0.95, xOffset=aside).encode(
                y=y("accuracy"), size=area, shape=form
            )
            named = (("level", "answers of"), ("sure", "confidence"), ("right", "accuracy"), ("samples", "samples"))
            told = [alt.Tooltip(f"{field}:N", title=title) for field, title in named]
            layers.append(dots if still else dots.encode(tooltip=told))
        return specification(layers, data=data, height=height)

    return build


def drawn(groups: Groups, *, title: str) -> dict[str, Any]:
    """The diagram as a picture that stands alone, as Vega-Lite; its ``title`` says whose answers they are."""
    said = (
        f"How often answers are right, by how sure they were. Bars: intervals at {100 * CONFIDENCE:g} %;\n"
        f"neighbours are joined until {LEAST} samples are in a point."
    )
    build = diagram(groups, SERIES[0].light, height=SIZE, key=True)
    return standing(build, title=title, subtitle=said) | {"width": SIZE}


def write(path: Path, groups: Groups, *, title: str) -> None:
    """Draw the diagram into a PNG file, and put its points beside it as JSON, from which the page draws its own.

    Raises OSError where they cannot be written.
    """
    png(path, drawn(groups, title=title))
    points = {label: [asdict(point) for point in points] for label, points in groups.items()}
    path.with_suffix(".json").write_text(json.dumps(points, indent=1) + "\n")


def read(path: Path) -> dict[str, list[Point]] | None:
    """The points that ``write`` put beside a picture; None where there are none, or they cannot be read."""
    try:
        stored = json.loads(path.with_suffix(".json").read_text())
        return {str(label): [Point(**point) for point in points] for label, points in stored.items()} or None
    except (OSError, ValueError, TypeError, AttributeError):
        return None


def _count(points: Sequence[Point]) -> int:
    return sum(point.count for point in points)


def _joined(points: Sequence[Point]) -> Point:
    """One point for all samples of several; points of no sample weigh nothing."""
    count = _count(points)
    weights = [point.count / count if count else 1 / len(points) for point in points]
    share = sum(weight * point.accuracy for weight, point in zip(weights, points, strict=True))
    z, n = NormalDist().inv_cdf((1 + CONFIDENCE) / 2), max(count, 1)
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * math.sqrt(max(share * (1 - share), 0.0) / n + z**2 / (4 * n**2))
    return Point(
        confidence=sum(weight * point.confidence for weight, point in zip(weights, points, strict=True)),
        accuracy=share,
        low=max(0.0, centre - half),
        high=min(1.0, centre + half),
        count=count,
    )


def _said(point: Point) -> dict[str, str]:
    """What a pointer tells of a point."""
    interval = f"[{100 * point.low:.1f}, {100 * point.high:.1f}]"
    return {
        "sure": f"{100 * point.confidence:.1f} %",
        "right": f"{100 * point.accuracy:.1f} % {interval}",
        "samples": f"{point.count}",
    }
