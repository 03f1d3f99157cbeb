"""The page's tables of differences between levels: on the goal's metric, and in the time to the target."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from markupsafe import Markup

from analysis import units
from analysis.verdict import Comparison, CostToTarget, Interval, Verdict, bounded
from reports.labels import Labels
from reports.palette import swatch
from reports.whisker import axis, header, whisker


@dataclass(frozen=True, kw_only=True, slots=True)
class EffectRow:
    """One comparison, a against b; ``clear`` when its interval leaves out "no difference"."""

    a: str
    b: str
    a_swatch: str
    b_swatch: str
    size: str
    interval: str
    strip: Markup
    p: str
    p_adjusted: str
    clear: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class EffectTable:
    """The rows, and the axis over their whiskers; ``intervals`` is False where no comparison has one."""

    head: Markup
    rows: Sequence[EffectRow]
    intervals: bool


def against(comparison: Comparison, label: str) -> Comparison:
    """The comparison turned so that ``label`` is what it is made against (b)."""
    if comparison.a != label:
        return comparison
    low, high = comparison.interval
    return replace(
        comparison,
        a=comparison.b,
        b=label,
        difference=-comparison.difference,
        interval=(None if high is None else -high, None if low is None else -low),
    )


def differences(verdict: Verdict, labels: Labels, *, best_only: bool) -> EffectTable | None:
    """All comparisons on the metric, or those against the best level, in the order of the ranking; None where there are none."""
    if not verdict.comparisons:
        return None
    order = {level.label: place for place, level in enumerate(verdict.levels)}
    best = verdict.levels[0].label
    # Of two levels the better one is the yardstick, so that every row reads "worse by".
    turned = [against(c, min((c.a, c.b), key=lambda label: order.get(label, len(order)))) for c in verdict.comparisons]
    if best_only:
        turned = [c for c in turned if c.b == best]
    turned.sort(key=lambda c: (order.get(c.b, 0), order.get(c.a, 0)))
    metric = verdict.goal.metric
    drawn = [(c.a, c.b, c.difference, c.interval, c.p, c.p_adjusted) for c in turned]
    words = _Words(
        size=lambda x, spread: units.gap(x, metric, spread=spread, signed=True),
        end=lambda x, spread: units.number(x, metric, spread=spread),
        tick=lambda x: units.target(x, metric).removesuffix(" %"),
    )
    return _table(drawn, labels, none=0.0, words=words, place=float)


def speeds(verdict: Verdict, labels: Labels, *, quickest_only: bool) -> EffectTable | None:
    """How many times as long each level takes to the target, on a logarithmic axis; None where that is not known.

    ``quickest_only`` keeps the comparisons against the level that no other one beats, where there is such a level.
    """
    drawn = [(s.a, s.b, s.ratio, s.interval, s.p, s.p_adjusted) for s in verdict.speed if s.ratio > 0]
    slower = {s.a if s.ratio >= 1 else s.b for s in verdict.speed}
    quickest = next((label for s in verdict.speed for label in (s.b, s.a) if label not in slower), None)
    if quickest_only and quickest is not None:
        drawn = [row for row in drawn if quickest in row[:2]]
    words = _Words(
        size=lambda x, _: units.ratio(x), end=lambda x, _: units.factor(x), tick=lambda x: f"{round(2**x, 6):g}x"
    )
    return _table(drawn, labels, none=1.0, words=words, place=lambda x: math.log2(max(x, 1e-9)), ticks=_ratio_ticks)


def without_speed(verdict: Verdict) -> list[tuple[str, str]]:
    """The levels whose time to the target is compared with nobody's, and why; none where no level's is."""
    compared = {label for pair in verdict.speed for label in (pair.a, pair.b)}
    left = [level for level in verdict.levels if compared and level.label not in compared]
    return [(level.label, _why_without(level.cost_to_target)) for level in left]


def _why_without(cost: CostToTarget | None) -> str:
    if cost is None:
        return "no final of it finished"
    if cost.reached < cost.n:
        return f"{cost.reached or 'none'} of its {cost.n} finals reached the target"
    return "not all of its seconds are known"


def _ratio_ticks(low: float, high: float) -> tuple[float, ...]:
    """Round ratios between two logarithms to the base of 2, no more than six of them."""
    ratios = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 0.7, 0.8, 0.9, 1, 1.1, 1.2, 1.5, 2, 3, 5, 10, 20, 50, 100, 200)
    inside = [math.log2(ratio) for ratio in ratios if low <= math.log2(ratio) <= high]
    apart: list[float] = []
    for tick in sorted(inside, key=lambda tick: (tick != 0, tick % 1 != 0)):  # 1x first, then doublings
        if all(abs(tick - other) > (high - low) / 6 for other in apart):
            apart.append(tick)
    return tuple(sorted(apart))


@dataclass(frozen=True, kw_only=True, slots=True)
class _Words:
    """How a table writes its numbers: a size and an interval's end, given its half width, and a tick of the axis."""

    size: Callable[[float, float | None], str]
    end: Callable[[float, float | None], str]
    tick: Callable[[float], str]


def _table(
    rows: Sequence[tuple[str, str, float, Interval, float, float]],
    labels: Labels,
    *,
    none: float,
    words: _Words,
    place: Callable[[float], float],
    ticks: Callable[[float, float], tuple[float, ...]] | None = None,
) -> EffectTable | None:
    """The rows as words and whiskers; ``none`` is the value of "no difference", ``place`` takes a value onto the axis."""

    def placed(interval: Interval) -> Interval:
        low, high = interval
        return None if low is None else place(low), None if high is None else place(high)

    scale = axis([place(row[2]) for row in rows], [placed(row[3]) for row in rows], mark=place(none))
    if scale is None:
        return None
    if ticks is not None:
        scale = replace(scale, ticks=ticks(scale.low, scale.high))
    shown = []
    for a, b, size, interval, p, p_adjusted in rows:
        low, high = interval
        spread = units.half_width(interval)
        shown.append(
            EffectRow(
                a=a,
                b=b,
                a_swatch=swatch(labels.place(a)),
                b_swatch=swatch(labels.place(b)),
                size=words.size(size, spread),
                interval=units.interval(interval, _with(words.end, spread)),
                strip=Markup(whisker(scale, place(size), placed(interval))),
                p=_bare(p),
                p_adjusted=_bare(p_adjusted),
                clear=(low is not None and low > none) or (high is not None and high < none),
            )
        )
    head = header(scale, [words.tick(tick) for tick in scale.ticks])
    return EffectTable(head=Markup(head), rows=shown, intervals=any(bounded(row[3]) for row in rows))


def _bare(p: float) -> str:
    """A p-value without the letter, which stands at the head of its column."""
    return units.p_value(p).removeprefix("p ").removeprefix("= ")


def _with(text: Callable[[float, float | None], str], spread: float | None) -> Callable[[float], str]:
    return lambda x: text(x, spread)
