"""The colours of the page and its charts, safe for colour-blind readers, each with its partner for a dark page.

Charts carry the light colours as plain SVG attributes; the style sheet maps each to its dark partner, so that one drawing serves
both, follows the reader's setting and prints light.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from analysis.colours import LEVELS


@dataclass(frozen=True, kw_only=True, slots=True)
class Colour:
    """One colour on a light page, and the one that takes its place on a dark page."""

    light: str
    dark: str


# At least 3 : 1 against their page (WCAG 1.4.11), spread in hue and in lightness: after Okabe and Ito, darkened where too pale.
_DARK = ("#56b4e9", "#ff9147", "#2fc79a", "#e994c4", "#dcb63f", "#b4bfcb", "#b995e6", "#cf9273")
SERIES = tuple(Colour(light=light, dark=dark) for light, dark in zip(LEVELS, _DARK, strict=True))
REST = Colour(light="#8791a0", dark="#717c8a")
INK = Colour(light="#1b2330", dark="#e8ecf1")
MUTED = Colour(light="#596473", dark="#a3aebb")
PAPER = Colour(light="#ffffff", dark="#12161b")
RULE = Colour(light="#e2e6eb", dark="#2c343e")
# From the best fifth to the worst.
FIFTHS = (
    Colour(light="#084a8c", dark="#9fd0ff"),
    Colour(light="#2f7fbf", dark="#5fa5de"),
    Colour(light="#78abd3", dark="#3c76aa"),
    Colour(light="#aac4da", dark="#2d557b"),
    Colour(light="#cfd9e3", dark="#2a3f55"),
)
_ALL = (*SERIES, REST, INK, MUTED, PAPER, RULE, *FIFTHS)


def series(labels: Sequence[str]) -> dict[str, str]:
    """A light colour for each label, in order; those past the eighth share a grey."""
    return {label: SERIES[i].light if i < len(SERIES) else REST.light for i, label in enumerate(labels)}


def swatches() -> str:
    """Style rules ``.c0 … .c7, .c-rest`` that give an element its series' colour as ``--c``."""
    rules = [f".c{i}{{--c:{colour.light}}}" for i, colour in enumerate(SERIES)]
    return "\n".join([*rules, f".c-rest{{--c:{REST.light}}}"])


def swatches_dark() -> str:
    """The same for a dark page, and the mapping of the charts' colours."""
    rules = [f".c{i}{{--c:{colour.dark}}}" for i, colour in enumerate(SERIES)]
    rules.append(f".c-rest{{--c:{REST.dark}}}")
    for colour in _ALL:
        rules.append(f'svg [fill="{colour.light}"]{{fill:{colour.dark}}}')
        rules.append(f'svg [stroke="{colour.light}"]{{stroke:{colour.dark}}}')
    return "\n".join(rules)


def swatch(index: int) -> str:
    """The class of the series at this place."""
    return f"c{index}" if 0 <= index < len(SERIES) else "c-rest"
