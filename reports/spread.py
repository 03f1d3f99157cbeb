"""The page's section on how far runs spread: the finals drawn, a row for each source, and what that means for a mean."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from markupsafe import Markup

from analysis import units
from analysis.ledger import Goal
from analysis.spread import FEWEST, Source, SpreadGroup, complete
from analysis.spread_answer import add_up, deviation, percent
from analysis.verdict import Verdict
from reports.figure import Figure, figure
from reports.labels import Labels
from reports.palette import swatch
from reports.spread_chart import runs
from reports.whisker import Axis, axis, header, whisker


@dataclass(frozen=True, kw_only=True, slots=True)
class SpreadRow:
    """One source as words, ``swatch`` in its level's colour; ``strip`` draws its standard deviation."""

    label: str
    swatch: str
    sd: str
    interval: str
    strip: Markup
    share: str
    share_interval: str


@dataclass(frozen=True, kw_only=True, slots=True)
class SpreadPart:
    """The rows of one recipe, ``at`` names it among several; ``together`` and its interval are what all sources add up to."""

    at: str
    rows: Sequence[SpreadRow]
    together: str
    together_interval: str


@dataclass(frozen=True, kw_only=True, slots=True)
class SpreadSection:
    """The whole section; ``shares`` is False where no level draws all that the others do."""

    chart: Figure
    head: Markup
    parts: Sequence[SpreadPart]
    shares: bool
    means: Sequence[str]
    note: str


def section(verdict: Verdict, labels: Labels) -> SpreadSection | None:
    """The section of a sweep that compares what its seeds draw and has two finals a level; None for any other."""
    spread = verdict.spread
    groups = [] if spread is None else [group for group in spread.groups if group.all and group.seeds > 1]
    if not groups:
        return None
    goal, sources = verdict.goal, [source for group in groups for source in group.all]
    scale = axis(
        [source.sd for source in sources if source.sd is not None],
        [source.interval for source in sources if source.interval is not None],
        mark=0.0,
    )
    ticks = [units.target(tick, goal.metric).removesuffix(" %") for tick in scale.ticks] if scale is not None else []
    return SpreadSection(
        chart=_chart(groups, goal, labels, verdict.confidence),
        head=Markup(header(scale, ticks) if scale is not None else ""),
        parts=[_part(group, goal, scale, labels) for group in groups],
        shares=any(group.whole is not None and group.sources for group in groups),
        means=[text for group in groups for text in _means(group, goal)],
        note=" ".join(_note(groups)),
    )


def _chart(groups: Sequence[SpreadGroup], goal: Goal, labels: Labels, confidence: float) -> Figure:
    named = ", ".join(f"{s.level} {deviation(s, goal.metric)[0]}" for group in groups for s in group.all)
    known = any(source.interval is not None for group in groups for source in group.all)
    ends = f", the shaded ends its {100 * confidence:g} % interval" if known else ""
    return figure(
        name="spread-runs",
        title="Every final",
        caption=f"A dot for each final: its test {goal.metric} less the mean of its level. The line below reaches one standard "
        f"deviation to either side{ends}.",
        described=f"Dot plot of the finals' test {goal.metric} around the mean of each level; standard deviations: {named}.",
        legend=[],
        build=runs(groups, goal, labels.order),
    )


def _part(group: SpreadGroup, goal: Goal, scale: Axis | None, labels: Labels) -> SpreadPart:
    return SpreadPart(
        at=group.at,
        rows=[_row(source, goal, scale, labels, whole=source is group.whole) for source in group.all],
        together=f"{percent(group.together)} %" if group.together is not None else "",
        together_interval=units.interval(group.together_interval, percent),
    )


def _row(source: Source, goal: Goal, scale: Axis | None, labels: Labels, *, whole: bool) -> SpreadRow:
    size, ends = deviation(source, goal.metric)
    drawn = whisker(scale, source.sd, source.interval) if scale is not None and source.sd is not None else ""
    share = "100 %" if whole else units.DASH if source.share is None else f"{percent(source.share)} %"
    return SpreadRow(
        label=source.label,
        swatch=swatch(labels.place(source.level)),
        sd=size,
        interval=ends,
        strip=Markup(drawn),
        share=share,
        share_interval=units.interval(source.share_interval, percent),
    )


def _means(group: SpreadGroup, goal: Goal) -> list[str]:
    """What the spread means for a mean over seeds, as one sentence."""
    if not group.errors or group.seeds < FEWEST:
        return []
    texts = []
    for error in group.errors:
        spread = units.half_width(error.interval)
        ends = units.interval(error.interval, partial(units.number, metric=goal.metric, spread=spread))
        texts.append(f"{error.seeds} seeds {units.gap(error.value, goal.metric, spread=spread)} {ends}".strip())
    at = f" at {group.at}" if group.at else ""
    return [
        f"The standard error of a mean that draws everything{at}: over {', '.join(texts[:-1])}, and over {texts[-1]}."
    ]


def _note(groups: Sequence[SpreadGroup]) -> list[str]:
    """How to read the figures."""
    said = [f"Over {groups[0].seeds} seeds. What a level does not draw is as seed 0 has it."]
    if groups[0].seeds < FEWEST:
        said.append(f"There are too few seeds for intervals, which take {FEWEST}.")
    wholes = [group.whole for group in groups if group.whole is not None and group.sources]
    if wholes:
        whole = "everything" if complete(wholes[0]) else wholes[0].label
        said.append(f"Shares are of the variance of the level that draws {whole}.")
    told = [add_up(group) for group in groups if group.together_interval is not None]
    if told and all(told):
        said.append("The sources add up to the whole within the interval: nothing shows that they act on one another.")
    elif any(add_up(group) is False and (group.together or 0.0) > 1 for group in groups):
        said.append(
            "The sources add up to more than the whole: what one draws changes what the others do, and each level has that in it."
        )
    return said
