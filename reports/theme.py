"""How every chart looks: quiet axes, the page's colours, no frame, no legend of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

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


def specification(chart: alt.LayerChart, *, width: int | str, height: int, right: int = 12) -> dict[str, Any]:
    """The chart as Vega-Lite, ``width`` pixels wide (or ``"container"``) over all, ``right`` of them kept for labels."""
    drawn: dict[str, Any] = (
        chart.properties(width=width, height=height, background="transparent")
        .configure(font=FONT, autosize={"type": "fit-x", "contains": "padding"})
        .configure_view(stroke=None)
        .configure_axis(
            labelColor=MUTED.light,
            titleColor=MUTED.light,
            labelFontSize=11.5,
            titleFontSize=12,
            titleFontWeight="normal",
            titlePadding=8,
            gridColor=RULE.light,
            domain=False,
            ticks=False,
            labelPadding=6,
        )
        .configure_axisX(grid=False, domain=True, domainColor=RULE.light, labelOverlap=True)
        .configure_axisY(titleAngle=0, titleAlign="left", titleAnchor="end", titleBaseline="bottom", titleY=-8, titleX=0)
        .configure_text(color=INK.light, fontSize=12)
        .to_dict()
    )
    drawn["padding"] = {"left": 2, "right": right, "top": 24, "bottom": 4}
    return drawn
