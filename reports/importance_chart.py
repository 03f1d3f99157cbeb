"""The chart of how much each searched setting mattered: a bar each, with its interval."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from analysis import units
from analysis.importance import DRAWS, Importance, Importances
from reports.figure import Build, Figure, figure
from reports.palette import FIFTHS, INK, MUTED
from reports.theme import specification, table

ROW = 38
"""Pixels a bar."""

_SHOWN, _PALE = FIFTHS[1], FIFTHS[3]


def chart(found: Importances) -> Figure:
    """The figure with its words: the method, and what the bars do and do not say."""
    shown = [one.path for one in found.settings if one.shown]
    confidence = f"{100 * found.confidence:g} %"
    pale = "pale: not shown" if shown else "pale: not shown to, and none is"
    said = [
        "What each setting alone adds to foretelling how a heat ranks in its level, as a share of the differences in rank."
        f" Strong: shown to matter; {pale}; no bar: it adds nothing. Shares need not add up.",
        f"Leave-one-covariate-out over a kernel regression, {confidence} intervals from {units.count(DRAWS)} bootstrap draws;"
        f" scores at epoch {found.epoch}, the last that all {found.heats} heats reached. {_together(found)}",
    ]
    listed = ", ".join(f"{one.path} {_percent(one.share)}" for one in found.settings)
    return figure(
        name="importance",
        title="What mattered",
        caption=" ".join(said),
        described=f"Bar chart of the share of the differences in rank that each setting alone explains: {listed}.",
        legend=[],
        build=bars(found.settings),
    )


def bars(settings: Sequence[Importance]) -> Build:
    """A bar from 0 for each setting, the first on top, its interval across it; a share below 0 has no bar."""
    names = _names([one.path for one in settings])
    rows = [_row(one, name) for one, name in zip(settings, names, strict=True)]
    low = min(0.0, *(row["low"] for row in rows))
    high = max(0.05, *(row["high"] for row in rows))
    margin = 0.04 * (high - low)

    def build(still: bool) -> dict[str, Any]:
        import altair as alt

        domain = [low - margin if low < 0 else 0.0, high + margin]
        axis = alt.Axis(labelExpr="format(datum.value * 100, '~g') + ' %'", tickCount=5, grid=True, domain=False)
        scale = alt.Scale(domain=domain, nice=False)

        def x(field: str) -> alt.X:
            return alt.X(f"{field}:Q", title="of the differences in rank", scale=scale, axis=axis)

        labels = alt.Axis(labelLimit=130, labelFontSize=12, grid=False)
        y = alt.Y("name:N", sort=names, title=None, scale=alt.Scale(padding=0.25), axis=labels)
        shades = alt.Scale(domain=[True, False], range=[_SHOWN.light, _PALE.light])
        base = table().encode(y=y)
        bar = base.mark_bar(height=ROW * 0.45).encode(x=x("bar"), color=alt.Color("shown:N", legend=None, scale=shades))
        if not still:
            named = (("path", "setting"), ("said", "share"), ("told", "shown to matter"))
            bar = bar.encode(tooltip=[alt.Tooltip(f"{field}:N", title=title) for field, title in named])
        layers: list[Any] = [bar]
        layers.append(base.mark_rule(strokeWidth=1.5, color=INK.light).encode(x=x("low"), x2="high:Q"))
        for end in ("low", "high"):
            layers.append(base.mark_tick(orient="vertical", size=9, thickness=1.5, color=INK.light).encode(x=x(end)))
        zero = table("zero").mark_rule(strokeWidth=1, color=MUTED.light)
        layers.append(zero.encode(x=x("x")))
        return specification(layers, data={"rows": rows, "zero": [{"x": 0.0}]}, height=ROW * len(rows))

    return build


def _names(paths: Sequence[str]) -> list[str]:
    """Short names, or whole paths where two short ones are the same."""
    short = [units.name(path) for path in paths]
    return short if len(set(short)) == len(short) else list(paths)


def _row(one: Importance, name: str) -> dict[str, Any]:
    low, high = (one.share if end is None else end for end in one.interval)
    return {
        "name": name,
        "path": one.path,
        "bar": max(one.share, 0.0),
        "low": low,
        "high": high,
        "shown": one.shown,
        "told": "yes" if one.shown else "no",
        "said": f"{_percent(one.share)} [{_percent(low).removesuffix(' %')}, {_percent(high).removesuffix(' %')}]",
    }


def _together(found: Importances) -> str:
    if found.p > 1 - found.confidence:
        return f"All settings together foretell no more than chance would ({units.p_value(found.p)}), so none is shown to matter."
    return f"All settings together foretell {_percent(max(found.explained, 0.0))} ({units.p_value(found.p)})."


def _percent(share: float) -> str:
    """A share in whole percent."""
    whole = round(100 * share)
    return f"{units.count(whole)} %"
