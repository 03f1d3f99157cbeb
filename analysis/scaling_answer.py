"""What a sweep over numbers of workers answers: how many times as many samples a second, and whether the result suffers."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from analysis import units
from analysis.scaling import Scaling, ScalingGroup, ScalingPoint
from analysis.verdict import Comparison, Interval, Verdict

_Said = tuple[int, int, bool | None]
"""What the clause before has compared: these workers with those, and whether they were faster (True) or slower (False)."""


def scaling_clauses(verdict: Verdict, *, fewest: int) -> list[str]:
    """The clauses of the answer's sentence; none where no two numbers of workers could be compared.

    ``fewest`` is how many shared seeds it takes to tell anything apart.
    """
    scaling = verdict.scaling
    groups = [] if scaling is None else [group for group in scaling.groups if _others(group)]
    if scaling is None or not groups:
        return []
    if scaling.seeds < fewest:
        return [_too_few(groups), _chance(scaling.seeds, fewest)]
    clauses: list[str] = []
    before: _Said | None = None
    for group in groups:
        clauses += _group(group, before)
        point, base = _headline(group), _base(group)
        before = (point.workers, base.workers, faster_or_slower(point))
    return [*clauses, *_scores(verdict, scaling)]


def times(x: float | None) -> str:
    """How many times as fast, without a sign: ``1.62``, ``12.4``, ``131``; a dash where it is not known."""
    if x is None:
        return units.DASH
    return f"{x:.2f}" if x < 9.995 else f"{x:.1f}" if x < 99.95 else units.count(x)


def share(x: float | None) -> str:
    """An efficiency in whole percent, without a sign: ``81``; a dash where it is not known."""
    return units.DASH if x is None else units.count(100 * x)


def faster_or_slower(point: ScalingPoint) -> bool | None:
    """True where a speed-up is told from 1 from above, False from below, None where it is not told."""
    low, high = point.speed_up_interval or (None, None)
    if low is not None and low > 1:
        return True
    return False if high is not None and high < 1 else None


def _others(group: ScalingGroup) -> list[ScalingPoint]:
    """The points that are compared against the fewest workers of their group."""
    return [point for point in group.points if point.speed_up_interval is not None]


def _base(group: ScalingGroup) -> ScalingPoint:
    return next(point for point in group.points if point.speed_up is not None and point.speed_up_interval is None)


def _faster(point: ScalingPoint) -> bool:
    return faster_or_slower(point) is True


def _headline(group: ScalingGroup) -> ScalingPoint:
    """The fastest of those told to be faster than the fewest workers, else the most workers."""
    others = _others(group)
    faster = [point for point in others if _faster(point)]
    return max(faster, key=lambda point: point.speed_up or 0.0) if faster else others[-1]


def _too_few(groups: Sequence[ScalingGroup]) -> str:
    """What the most workers of each group did so far; what the group before has said is not said again."""
    text = "Too few seeds to tell: so far"
    before: tuple[int, int, str] | None = None
    for group in groups:
        point, base = _others(group)[-1], _base(group)
        word, than = _so_far(point)
        now = (point.workers, base.workers, word)
        at, found = _spaced(group.at), times(point.speed_up)
        if before == now:
            text += f" and{at} ({found} times)"
        elif before is not None and before[:2] == now[:2]:
            text += f", but {word}{at} ({found} times)"
        else:
            link = "" if before is None else ", while"
            text += f"{link} {_workers(point)} are {word} {than} {base.workers}{at} ({found} times as many samples a second)"
        before = now
    return text


def _chance(seeds: int, fewest: int) -> str:
    shared = f"{seeds} shared seed{'' if seeds == 1 else 's'}"
    return f"{shared} cannot tell that from chance, which takes at least {fewest}"


def _so_far(point: ScalingPoint) -> tuple[str, str]:
    """Whether the measured speed-up, which nothing vouches for, is above 1: the adjective and what follows it."""
    shown = float(times(point.speed_up).replace(units.THIN, ""))
    if shown == 1:
        return "about as fast", "as"
    return ("faster" if shown > 1 else "slower"), "than"


def _group(group: ScalingGroup, before: _Said | None) -> list[str]:
    """One group's clauses; ``before`` is what the last clause compared, which is not said again."""
    point, base = _headline(group), _base(group)
    speed_up, ends = times(point.speed_up), _bracket(point.speed_up_interval)
    at, efficiency = _spaced(group.at), f"{share(point.efficiency)} % efficiency"
    told = faster_or_slower(point)
    if told is None:
        text = (
            f"{_workers(point)} are not distinguishably faster or slower than {base.workers}{at}: "
            f"{speed_up} times as many samples a second{ends}"
        )
    elif not told and before == (point.workers, base.workers, False):
        text = f"slower too{at}: {speed_up} times{ends}"
    elif not told:
        text = f"{_workers(point)} are slower than {base.workers}{at}: {speed_up} times as many samples a second{ends}"
    elif before == (point.workers, base.workers, True):
        text = f"{speed_up} times{ends}{at}, {efficiency}"
    else:
        text = f"{_workers(point)} train {speed_up} times as many samples a second as {base.workers}{at}{ends}, {efficiency}"
    most = _others(group)[-1]
    if most is point:
        return [text]
    if (most.speed_up or 0.0) <= (point.speed_up or 0.0):
        words = f"{most.workers} reach no more than {times(most.speed_up)} times"
    else:
        words = f"{most.workers} are not distinguishably faster than {base.workers} at {times(most.speed_up)} times"
    return [text, f"{words}{_bracket(most.speed_up_interval)}"]


def _scores(verdict: Verdict, scaling: Scaling) -> list[str]:
    """Whether more workers change the score: against the fewest of their group, by the verdict's own comparisons."""
    found = [
        (group, point, pair)
        for group in scaling.groups
        if _others(group)
        for point in _others(group)
        if (pair := _pair(verdict, point.label, _base(group).label)) is not None
    ]
    metric = f"test {units.name(verdict.goal.metric)}"
    told = [entry for entry in found if _told(entry[2])]
    if not found:
        return []
    if not told:
        widths = [units.half_width(pair.interval) for _, _, pair in found]
        known = [width for width in widths if width]
        if None in widths or not known:
            return [f"no difference in {metric} is shown"]
        gap = units.gap(max(known), verdict.goal.metric, spread=max(known))
        return [f"no difference in {metric} is shown, where one of {gap} would have been"]
    if len(told) > 2:
        worst = max(told, key=lambda entry: abs(entry[2].difference))
        return [f"{metric} differs with {len(told)} of them, most of all: {_difference(verdict, *worst)}"]
    return [f"{metric} is {' and '.join(_difference(verdict, *entry) for entry in told)}"]


def _difference(verdict: Verdict, group: ScalingGroup, point: ScalingPoint, pair: Comparison) -> str:
    """``0.8 points lower with 2 workers at 128 a worker [0.3, 1.3]``."""
    metric, (low, high) = verdict.goal.metric, pair.interval
    ends: Interval = pair.interval
    if pair.difference < 0:
        ends = (None if high is None else -high, None if low is None else -low)
    spread = units.half_width(ends)
    text = units.interval(ends, partial(units.number, metric=metric, spread=spread))
    size = units.gap(abs(pair.difference), metric, spread=spread)
    return f"{size} {'lower' if pair.difference < 0 else 'higher'} with {_workers(point)}{_spaced(group.at)} {text}"


def _pair(verdict: Verdict, label: str, against: str) -> Comparison | None:
    """The comparison of two levels, turned so that it is made against the second; None where they were not compared."""
    for pair in verdict.comparisons:
        if (pair.a, pair.b) == (label, against):
            return pair
        if (pair.b, pair.a) == (label, against):
            low, high = pair.interval
            return Comparison(
                a=label,
                b=against,
                difference=-pair.difference,
                interval=(None if high is None else -high, None if low is None else -low),
                p=pair.p,
                p_adjusted=pair.p_adjusted,
            )
    return None


def _told(pair: Comparison) -> bool:
    low, high = pair.interval
    return (low is not None and low > 0) or (high is not None and high < 0)


def _workers(point: ScalingPoint) -> str:
    return f"{point.workers} worker{'' if point.workers == 1 else 's'}"


def _bracket(ends: Interval | None) -> str:
    return "" if ends is None else _spaced(units.interval(ends, times))


def _spaced(text: str) -> str:
    return f" {text}" if text else ""
