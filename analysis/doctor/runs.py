"""What only several runs show: a seed that fails where the others do not, wasted heats, a range that ends too soon."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from analysis import units
from analysis.doctor import changes
from analysis.doctor.course import Course, Group
from analysis.doctor.finding import Disease, Finding, found
from analysis.edges import Tuned, edges, read_range
from analysis.ledger import Question
from analysis.records import Stage, Status, TrialRecord
from analysis.student import tail

FEWEST = 5
"""Finals from which one can be said to lie apart from the others."""

ALPHA = 0.001
"""The chance of calling one of several equal runs apart."""

LOST = 0.2
"""A failing seed has lost this share of what the others have learned since the first epoch."""

WASTED = 0.25
"""Share of heats that diverged from which the range is worth cutting."""


def seeds(group: Group) -> Finding | None:
    """The worst final lies apart from the others (Grubbs' test), by a good part of what they have learned."""
    if len(group.scores) < FEWEST:
        return None
    goal = group.question.goal
    ranked = sorted(group.scores, key=lambda one: goal.sign * group.scores[one])
    worst, rest = ranked[0], np.array([goal.sign * group.scores[one] for one in ranked[1:]])
    gap = float(np.median(rest)) - goal.sign * group.scores[worst]
    learned = _learned(group, float(np.median(rest)))
    if gap <= 0 or (learned is not None and gap < LOST * learned):
        return None
    p = _apart(
        gap=float(rest.mean()) - goal.sign * group.scores[worst], spread=float(rest.std(ddof=1)), others=len(rest)
    )
    if p >= ALPHA:
        return None
    seed = next((course.seed for course in group.courses if course.id == worst), None)
    metric = goal.metric
    return found(
        Disease.SEEDS,
        level=group.label,
        trials=[worst],
        of=group.size,
        evidence=f"seed {seed} ends at {units.value(group.scores[worst], metric)} test {units.name(metric)}, the other "
        f"{len(rest)} between {units.value(min(goal.sign * rest), metric)} and {units.value(max(goal.sign * rest), metric)}",
        change=changes.warmer(group),
        sure=1 - p,
        strength=1.0 if learned is None else gap / max(learned, gap),
    )


def _learned(group: Group, usual: float) -> float | None:
    """How far the goal's metric has come since the first epoch's validation; None where it is not known."""
    first = [float(course.goal.values[0]) for course in group.courses if len(course.goal)]
    return usual - float(np.median(first)) if first and usual > np.median(first) else None


def _apart(*, gap: float, spread: float, others: int) -> float:
    """The chance that the worst of equal normal runs lies so far from the others; all may be the worst one."""
    if spread == 0:
        return 0.0
    t = gap / (spread * math.sqrt(1 + 1 / others))
    return float(min(1.0, (others + 1) * tail(t, others - 1)))


def wasted(group: Group, heats: Sequence[TrialRecord]) -> Finding | None:
    """A good part of the heats diverged, those with the larger learning rates."""
    known = [(rate, one) for one in heats if (rate := _rate(one)) is not None and one.status.settled]
    lost = [(rate, one) for rate, one in known if one.status is Status.DIVERGED]
    safe = [rate for rate, one in known if one.status is not Status.DIVERGED]
    if len(lost) < 3 or len(lost) < WASTED * len(known) or not safe:
        return None
    p = _larger([rate for rate, _ in lost], safe)
    searched = read_range(group.spaces.get(changes.RATE))
    if p > 0.05 or searched is None:
        return None
    top = changes.tidy(max(safe))
    kept = f"{searched.text.partition('(')[0]}({searched.low:g}, {top:g})"
    return found(
        Disease.DIVERGENCE,
        level=group.label,
        trials=[one.id for _, one in lost],
        of=len(known),
        evidence=f"{len(lost)} of {len(known)} heats diverged, at learning rates from {changes.short(min(r for r, _ in lost))}; "
        f"the largest that did not has {changes.short(max(safe))}",
        change=f"{changes.RATE} {searched.text} -> {kept}",
        sure=1 - p,
        strength=0.0,  # the finals are sound: it cost heats alone
    )


def _rate(record: TrialRecord) -> float | None:
    value = record.point.get(changes.RATE)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) and value > 0 else None


def _larger(first: Sequence[float], second: Sequence[float]) -> float:
    """The chance of ranks as high as those of the first values (Mann and Whitney, by the normal approximation)."""
    a, b = np.array(first), np.array(second)
    u = float((a[:, None] > b[None, :]).sum() + 0.5 * (a[:, None] == b[None, :]).sum())
    m, n = len(a), len(b)
    z = (u - m * n / 2 - 0.5) / math.sqrt(m * n * (m + n + 1) / 12)
    return 0.5 * math.erfc(z / math.sqrt(2))


def ends(question: Question, levels: Sequence[Tuned], records: Sequence[TrialRecord]) -> Iterator[Finding]:
    """The settings that were tuned to an end of their range, each with a wider one."""
    for edge in edges(question, levels, records):
        tuned = [level for level in levels if level.label in edge.levels]
        values = [float(v) for level in tuned if isinstance(v := level.point.get(edge.path), int | float)]
        of = [one for one in records if one.stage is Stage.FINAL and any(_same(one, level) for level in tuned)]
        where = "" if len(levels) == 1 else f" at {len(edge.levels)} of {len(levels)} levels"
        low, high = changes.written(min(values)), changes.written(max(values))
        yield found(
            Disease.EDGE,
            level=edge.levels[0] if len(edge.levels) == 1 and len(levels) > 1 else None,
            trials=[one.id for one in of],
            of=sum(one.stage is Stage.FINAL for one in records),
            evidence=f"{edge.path} is tuned to the {edge.end} end of {edge.range.text}{where}: "
            f"{low if low == high else f'{low} to {high}'}",
            change=f"{edge.path} {edge.range.text} -> {changes.wider(edge.range, edge.end)}",
        )


def _same(record: TrialRecord, level: Tuned) -> bool:
    return dict(record.level) == dict(level.level)


def scores(
    finished: Mapping[int, TrialRecord], values: Mapping[int, float], courses: Sequence[Course]
) -> dict[str, float]:
    """The test scores of the finals by their id, of those whose course is known."""
    known = {course.id for course in courses}
    return {record.id: values[seed] for seed, record in finished.items() if record.id in known}
