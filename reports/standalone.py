"""A chart as a picture that stands alone, with its title, for a PNG file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from reports.figure import Build
from reports.palette import INK, MUTED, PAPER

WIDTH = 640
"""Pixels of the plot, drawn at twice as many."""


def standing(build: Build, *, title: str, subtitle: str, right: int = 24) -> dict[str, Any]:
    """The chart as Vega-Lite with a title and a line below it that says how to read it; ``right`` pixels are kept for labels."""
    head = {
        "text": title,
        "subtitle": subtitle.split("\n"),
        "anchor": "start",
        "color": INK.light,
        "subtitleColor": MUTED.light,
        "fontSize": 15,
        "subtitleFontSize": 12,
        "subtitlePadding": 6,
        "offset": 26,
    }
    return build(True) | {
        "width": WIDTH,
        "background": PAPER.light,
        "padding": {"left": 14, "right": right, "top": 14, "bottom": 12},
        "autosize": {"type": "pad"},
        "title": head,
    }


def png(path: Path, specification: dict[str, Any]) -> None:
    """Draw Vega-Lite into a PNG file. Raises OSError where it cannot be written."""
    import vl_convert

    path.write_bytes(vl_convert.vegalite_to_png(specification, scale=2))
