"""How every chart looks: quiet axes, the page's colours, no frame, no legend of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from analysis import units
from analysis.ledger import Goal
from reports.palette import INK, MUTED, RULE, series

if TYPE_CHECKING:
    import altair as alt

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"


def picked() -> alt.Parameter:
    """The level that the reader has picked in the legend; empty for all. The page's script sets it."""
    import altair as alt

    return alt.param(name="picked", value="")


def opacity(shown: float, faded: float) -> Any:
    """``shown``, or ``faded`` while another level is picked; rows name their level in ``level``."""
    import altair as alt

    return alt.condition("picked == '' || datum.level == picked", alt.value(shown), alt.value(faded))


def colour(labels: Sequence[str]) -> alt.Color:
    """Each level's colour; the legend is the page's own."""
    import altair as alt

    colours = series(labels)
    return alt.Color("level:N", legend=None, scale=alt.Scale(domain=list(colours), range=list(colours.values())))


def table(name: str = "rows") -> alt.Chart:
    """A chart over the rows that ``specification`` is handed under this name: copied and checked once, not per layer."""
    import altair as alt

    return alt.Chart(alt.NamedData(name=name))


def score(field: str, goal: Goal, domain: tuple[float, float], *, clamp: bool = False) -> alt.Y:
    """The goal's metric on validation upwards, in percent where it is a share.

    Every layer of a chart carries the same whole axis: one without it would widen the axis to its own values.
    """
    import altair as alt

    scale = alt.Scale(domain=list(domain), nice=False, zero=False, clamp=clamp)
    words = "format(datum.value * 100, '~g') + ' %'" if units.is_share(goal.metric) else "format(datum.value, '~g')"
    axis = alt.Axis(labelExpr=words, tickCount=6)
    return alt.Y(f"{field}:Q", title=f"validation {goal.metric}", scale=scale, axis=axis)


def epochs() -> alt.X:
    """Epochs from left to right, in whole numbers."""
    import altair as alt

    axis = alt.Axis(format="d", tickMinStep=1, tickCount=8)
    return alt.X("x:Q", title="epoch", scale=alt.Scale(nice=False, zero=False), axis=axis)


def seconds() -> alt.X:
    """Training seconds from left to right."""
    import altair as alt

    axis = alt.Axis(labelExpr="format(datum.value, '~g')", tickCount=6)  # with format the tens would be 1e+1
    return alt.X("x:Q", title="training seconds", scale=alt.Scale(nice=False, zero=True), axis=axis)


def specification(
    layers: Sequence[Any], *, data: Mapping[str, Sequence[Mapping[str, Any]]], height: int, right: int = 12
) -> dict[str, Any]:
    """The layers as Vega-Lite over ``data``, as wide as its container; ``right`` pixels are kept for labels."""
    import altair as alt

    drawn: dict[str, Any] = alt.layer(*layers).add_params(picked()).to_dict(validate=False)
    return drawn | {
        "width": "container",
        "height": height,
        "background": "transparent",
        "padding": {"left": 2, "right": right, "top": 24, "bottom": 4},
        "autosize": {"type": "fit-x", "contains": "padding"},
        "config": _config(),
        "datasets": {name: [dict(row) for row in rows] for name, rows in data.items()},
    }


def _config() -> dict[str, Any]:
    return {
        "font": FONT,
        "view": {"stroke": None},
        "text": {"color": INK.light, "fontSize": 12},
        "axis": {
            "labelColor": MUTED.light,
            "titleColor": MUTED.light,
            "labelFontSize": 11.5,
            "titleFontSize": 12,
            "titleFontWeight": "normal",
            "titlePadding": 8,
            "gridColor": RULE.light,
            "domain": False,
            "ticks": False,
            "labelPadding": 6,
        },
        "axisX": {"grid": False, "domain": True, "domainColor": RULE.light, "labelOverlap": True},
        # The title lies flat above the axis, where it is read without turning the head.
        "axisY": {
            "titleAngle": 0,
            "titleAlign": "left",
            "titleAnchor": "end",
            "titleBaseline": "bottom",
            "titleX": 0,
            "titleY": -8,
        },
    }
