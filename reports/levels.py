"""The page's first table: the levels, best first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from analysis import units
from analysis.verdict import CostToTarget, LevelResult, Verdict, bounded
from reports.labels import Labels
from reports.palette import swatch
from reports.space import brief
from reports.whisker import Axis, axis, header, whisker


@dataclass(frozen=True, kw_only=True, slots=True)
class LevelRow:
    """One level as the page shows it; ``first`` begins a rank group, ``point`` holds (short name, path, value)."""

    rank: int
    first: bool
    label: str
    swatch: str
    point: Sequence[tuple[str, str, str]]
    mean: str
    interval: str
    strip: Markup
    n: int
    diverged: int
    lost: int
    cost: str
    cost_interval: str
    reached: str
    heats: int
    stopped: int


@dataclass(frozen=True, kw_only=True, slots=True)
class LevelTable:
    """The rows, and the axis over their whiskers; ``intervals`` is False where no level has one."""

    head: Markup
    rows: Sequence[LevelRow]
    intervals: bool


def level_table(verdict: Verdict, labels: Labels) -> LevelTable:
    """The levels, best first."""
    metric = verdict.goal.metric
    shown = [level for level in verdict.levels if level.mean is not None]
    means = [level.mean for level in shown if level.mean is not None]
    scale = axis(means, [level.interval for level in shown if level.interval is not None])
    known = any(bounded(level.interval) for level in shown)
    before = [None, *(level.rank_group for level in verdict.levels)]
    rows = [
        _row(level, metric, labels, scale, first=level.rank_group != rank, without="no interval" if known else "")
        for level, rank in zip(verdict.levels, before, strict=False)
    ]
    head = header(scale, [units.target(tick, metric) for tick in scale.ticks]) if scale else ""
    return LevelTable(head=Markup(head), rows=rows, intervals=known)


def _row(level: LevelResult, metric: str, labels: Labels, scale: Axis | None, *, first: bool, without: str) -> LevelRow:
    """One level; ``without`` stands where it has a mean but no interval."""
    cost, cost_interval, reached = _cost(level.cost_to_target)
    strip = whisker(scale, level.mean, level.interval) if scale is not None and level.mean is not None else ""
    spread = units.half_width(level.interval)
    return LevelRow(
        rank=level.rank_group,
        first=first,
        label=level.label,
        swatch=swatch(labels.place(level.label)),
        point=[_setting(level, path) for path in level.point if path not in level.level],
        mean=units.value(level.mean, metric, spread=spread),
        interval=units.interval(level.interval, lambda x: units.number(x, metric, spread=spread))
        or (without if level.mean is not None else ""),
        strip=Markup(strip),
        n=level.n,
        diverged=level.diverged,
        lost=level.lost,
        cost=cost,
        cost_interval=cost_interval,
        reached=reached,
        heats=level.heats,
        stopped=level.stopped,
    )


def _setting(level: LevelResult, path: str) -> tuple[str, str, str]:
    """Short name, path and value of a tuned setting; one that changes in mid-run as ``0.01 → 0.004``, with its epochs."""
    turns = [(turn["until"], turn["point"].get(path)) for turn in level.earlier]
    values = [*(value for _, value in turns), level.point[path]]
    kept = [turn for turn, after in zip(turns, values[1:], strict=True) if turn[1] != after]
    if not kept:
        return units.name(path), path, brief(values[-1])
    course = " → ".join(brief(value) for value in (*(value for _, value in kept), values[-1]))
    return units.name(path), f"{path}, changed after epoch {', '.join(str(until) for until, _ in kept)}", course


def _cost(cost: CostToTarget | None) -> tuple[str, str, str]:
    """Cost to target, its interval, and how many reached it, as words."""
    if cost is None:
        return units.DASH, "", ""
    reached = f"{cost.reached} of {cost.n} reached it"
    if cost.seconds is not None:
        return units.seconds(cost.seconds), units.interval(cost.interval, units.seconds), reached
    if cost.samples is not None:
        return f"{units.count(cost.samples)} samples", "", reached
    return units.DASH, "", reached
