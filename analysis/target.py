"""What it costs to reach the target: seconds, samples and steps until validation first gets there."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np

from analysis.finals import Finals
from analysis.ledger import Goal
from analysis.records import Row, TrialRecord
from analysis.signflip import compare
from analysis.verdict import CostToTarget, Interval, SpeedComparison


@dataclass(frozen=True, kw_only=True, slots=True)
class Arrival:
    """What a final had cost when it first reached the target: infinite where it never did, None where it is not known."""

    reached: bool
    seconds: float | None
    samples: float | None
    steps: float | None


NEVER = Arrival(reached=False, seconds=math.inf, samples=math.inf, steps=math.inf)


def arrival(record: TrialRecord, goal: Goal) -> Arrival:
    """The first row of the history whose ``val/<metric>`` is at the target.

    Seconds are None when any row lacks them: a fused member's clock is not its own.
    """
    key = f"val/{goal.metric}"
    row = next((row for row in record.history if _known(row, key) is not None and goal.reached(row[key])), None)
    if row is None:
        return NEVER
    clocked = all(_known(each, "seconds") is not None for each in record.history)
    return Arrival(
        reached=True,
        seconds=_known(row, "seconds") if clocked else None,
        samples=_known(row, "samples"),
        steps=_known(row, "step"),
    )


def like_with_like(levels: Sequence[Finals]) -> bool:
    """True when all finals that gave an answer and were timed ran in one lane on one hardware: their seconds can be compared."""
    places = {(record.lane, record.hardware) for level in levels for record in level.used if clocked(record)}
    return len(places) <= 1


def clocked(record: TrialRecord) -> bool:
    """True for a trial that was trained alone from its first epoch on, so that its seconds are its own."""
    return not any("shared" in row for row in record.history)


def apart(finals: Iterable[Sequence[TrialRecord]]) -> int | None:
    """How many finals of a level were trained alone, in the level that has fewest of them; None where all were."""
    groups = [[clocked(record) for record in group] for group in finals]
    return None if all(map(all, groups)) else min(map(sum, groups))


def cost_to_target(level: Finals, goal: Goal, *, timed: bool, confidence: float) -> CostToTarget | None:
    """Medians over a level's finals, one that never arrives counting as infinite; None without a target or a final.

    A median that is infinite is None; so are the seconds when they are not ``timed`` or some final's are unknown. Of finals that
    were trained together nobody asks for seconds: theirs are those of the others. The interval is that of the median by order
    statistics.
    """
    if goal.target is None or not level.used:
        return None
    arrivals = [NEVER if record.seed in level.diverged else arrival(record, goal) for record in level.used]
    alone = [a for a, record in zip(arrivals, level.used, strict=True) if clocked(record)]
    seconds = [a.seconds if timed else None for a in alone]
    known = [s for s in seconds if s is not None]
    middle = _median(seconds)
    return CostToTarget(
        seconds=middle,
        interval=None if middle is None else median_interval(known, confidence),
        reached=sum(a.reached for a in arrivals),
        n=len(arrivals),
        samples=_median([a.samples for a in arrivals]),
        steps=_median([a.steps for a in arrivals]),
    )


def median_interval(values: Sequence[float], confidence: float) -> Interval | None:
    """The narrowest pair of order statistics that covers the median this often, None when there are too few values.

    Distribution-free: the number of values below the median is binomial(n, 1/2) (David and Nagaraja, *Order Statistics*,
    2003, 7.1). An infinite end is None.
    """
    n = len(values)
    tail, below, rank = 0.5 * (1 - confidence), 0.0, 0
    while rank < n // 2 and below + math.comb(n, rank) / 2**n <= tail + 1e-12:
        below += math.comb(n, rank) / 2**n
        rank += 1
    if rank == 0:
        return None
    ordered = sorted(values)
    low, high = ordered[rank - 1], ordered[n - rank]
    return (low if math.isfinite(low) else None, high if math.isfinite(high) else None)


def compare_speed(levels: Sequence[Finals], goal: Goal, seeds: Sequence[int], *, alpha: float) -> list[SpeedComparison]:
    """Pairs among the levels whose every shared seed reached the target: log seconds through the same sign flips.

    In each pair a is the slower one, so that a ratio is 1 or more; slowest pairs first. Seeds on which a level was not timed, and
    levels whose seconds are unknown, are left out. The ratio is that of geometric means, over seeds.
    """
    logs: dict[str, list[float]] = {}
    seeds = [seed for seed in seeds if all(clocked(level.finished[seed]) for level in levels)]
    for level in levels:
        seconds = [arrival(level.finished[seed], goal).seconds for seed in seeds]
        if seconds and all(s is not None and 0 < s < math.inf for s in seconds):
            logs[level.label] = [math.log(s) for s in seconds if s is not None]
    slowest_first = sorted(logs, key=lambda label: -sum(logs[label]))
    pairs = [(a, b) for i, a in enumerate(slowest_first) for b in slowest_first[i + 1 :]]
    if not pairs:
        return []
    test = compare(np.array([np.subtract(logs[a], logs[b]) for a, b in pairs]), alpha=alpha)
    return [
        SpeedComparison(
            a=a,
            b=b,
            ratio=math.exp(test.mean[i]),
            interval=(_exp(test.low[i]), _exp(test.high[i])),
            p=float(test.p[i]),
            p_adjusted=float(test.p_adjusted[i]),
        )
        for i, (a, b) in enumerate(pairs)
    ]


def _known(row: Row, key: str) -> float | None:
    x = row.get(key)
    return float(x) if isinstance(x, int | float) and math.isfinite(x) else None


def _median(values: Sequence[float | None]) -> float | None:
    """The median where all values are known and it is finite."""
    known = [x for x in values if x is not None]
    if len(known) < len(values):
        return None
    if not known:
        return None
    middle = median(known)
    return middle if math.isfinite(middle) else None


def _exp(log: float) -> float | None:
    return math.exp(log) if math.isfinite(log) else None
