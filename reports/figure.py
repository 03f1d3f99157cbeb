"""One chart of the page: a live one, and the same as still pictures for readers without JavaScript and for print."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from analysis.redact import redact, redact_all

WIDE, NARROW = 920, 350
"""Widths of the still pictures in pixels: for a desk and for a phone."""

Build = Callable[[bool], dict[str, Any]]
"""still -> Vega-Lite as wide as its container; a still one leaves out what only a pointer needs."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """A figure of the page.

    ``described`` says what it shows to someone who cannot see it; ``legend`` holds (label, class of its colour), empty
    where there is nothing to tell apart. ``wide``, ``narrow`` are SVG; ``live`` is JSON, safe inside a script element.
    """

    name: str
    title: str
    caption: str
    described: str
    legend: Sequence[tuple[str, str]]
    wide: str
    narrow: str
    live: str


def figure(
    *, name: str, title: str, caption: str, described: str, legend: Sequence[tuple[str, str]], build: Build
) -> Figure:
    """Draw a chart at both widths and keep its live form."""
    still = build(True)
    return Figure(
        name=name,
        title=title,
        caption=caption,
        described=described,
        legend=legend,
        wide=picture(still | {"width": WIDE}, f"{name}-w"),
        narrow=picture(still | {"width": NARROW}, f"{name}-n"),
        live=embedded(build(False)),
    )


def picture(specification: dict[str, Any], name: str) -> str:
    """The chart as SVG, hidden from screen readers; ``name`` keeps its clip paths apart from those of other pictures."""
    import vl_convert

    svg = redact(str(vl_convert.vegalite_to_svg(specification)))
    # The figure itself is described: thousands of marks, each with its own words, would bury that.
    svg = re.sub(r' (?:aria-[a-z]+|role)="[^"]*"', "", svg)
    svg = re.sub(r' class="[^"]*"', "", svg)
    svg = re.sub(r' id="(\w+)"', rf' id="{name}-\1"', svg)
    svg = re.sub(r'="url\(#(\w+)\)"', rf'="url(#{name}-\1)"', svg)
    return svg.replace("<svg ", '<svg aria-hidden="true" focusable="false" ', 1)


def embedded(value: Any) -> str:
    """JSON for a script element: ``<``, ``>`` and ``&`` escaped, so that no text inside can end the element."""
    text = json.dumps(redact_all(value), separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026").replace("\u2028", "\\u2028")
