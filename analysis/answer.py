"""The answer in one sentence: what is best with its error bar, what cannot be told from it, what is worse and by how much."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from analysis import units
from analysis.front import trade
from analysis.records import Scalar
from analysis.scaling_answer import scaling_clauses
from analysis.spread_answer import spread_clauses
from analysis.verdict import Comparison, Interval, LevelResult, SpeedComparison, Verdict


def sentence(verdict: Verdict, *, seeds: int, fewest: int, without: str) -> str:
    """One sentence that claims no more than the verdict does; its own ``answer`` is not read.

    ``seeds`` is how many shared seeds were compared, ``fewest`` how many it takes to tell anything apart, ``without`` what is said
    where no final has ended. Where numbers of workers are compared, how training scales with them is the answer, and the scores
    stand behind it; where what seeds draw is compared, how far the scores spread.
    """
    clean = [level for level in verdict.levels if level.n and not level.diverged]
    if not clean:
        return f"{_nothing_to_compare(verdict, without)}."
    if own := spread_clauses(verdict) or scaling_clauses(verdict, fewest=fewest):
        parts = own
    elif len(clean) == 1:
        parts = [_single(verdict, clean[0]), *_own_speed(verdict, clean[0])]
    elif seeds < fewest:
        parts = [_too_few(verdict, clean, seeds, fewest)]
    else:
        group = [level for level in clean if level.rank_group == clean[0].rank_group]
        parts = [*_lead(verdict, clean, group, seeds), *_worse(verdict, clean, group), *_speed(verdict, group)]
    parts += [*_traded(verdict, clean[0]), *_diverged(verdict), *_silent(verdict), *_so_far(verdict, seeds)]
    return f"{'; '.join(parts)}."


def _nothing_to_compare(verdict: Verdict, without: str) -> str:
    lost, diverged = sum(level.lost for level in verdict.levels), _diverged(verdict)
    if diverged:
        return f"No {_noun(verdict)} came through its finals: {'; '.join([*diverged, *_silent(verdict)])}"
    if lost:
        return f"No final has finished: {units.count(lost)} failed, ran out of memory or {'was' if lost == 1 else 'were'} cut short"
    return without


def _single(verdict: Verdict, level: LevelResult) -> str:
    score = f"{_score(verdict, level)} over {level.n} seed{'' if level.n == 1 else 's'}"
    if len(verdict.levels) == 1:
        return f"{_named(level)}: {score}"
    return f"{_named(level)} is the only one whose finals can be judged: {score}"


def _too_few(verdict: Verdict, clean: Sequence[LevelResult], seeds: int, fewest: int) -> str:
    best = _named(clean[0])
    shared = f"{seeds} shared seed{'' if seeds == 1 else 's'}" if seeds else "no shared seed"
    return (
        f"Too few seeds to tell: {best[0].lower() + best[1:] if verdict.factor else best} does best so far with "
        f"{_score(verdict, clean[0])}, but {shared} cannot tell any two apart, which takes at least {fewest}"
    )


def _lead(verdict: Verdict, clean: Sequence[LevelResult], group: Sequence[LevelResult], seeds: int) -> list[str]:
    """What is best, and what cannot be told from it; "is best" is kept for a level that was told from all others."""
    best = clean[0]
    score = _score(verdict, best)
    if len(group) == 1:
        return [f"{_named(best)} is best: {score}"]
    p = units.p_value(
        min(_pair(verdict, best, other).p_adjusted for other in group[1:]), "≥" if len(group) > 2 else "="
    )
    if len(group) < len(clean):
        others = _listed(group[1:])
        return [
            f"{_named(best)} leads: {score}",
            f"{others} {'is' if len(group) == 2 else 'are'} not distinguishable from it ({p})",
        ]
    against = "every other" if len(group) > 2 else _label(group[1])
    parts = [f"No {_noun(verdict)} is distinguishably best: {_label(best)} leads with {score} ({p} against {against})"]
    smallest = verdict.smallest_detectable_gap
    if smallest is not None:
        shown = units.gap(smallest, verdict.goal.metric, spread=smallest)
        parts.append(f"with {seeds} seeds a gap of about {shown} would have shown")
    return parts


def _worse(verdict: Verdict, clean: Sequence[LevelResult], group: Sequence[LevelResult]) -> list[str]:
    """The levels that were told from the best: each of one or two, the nearest and the farthest of more."""
    worse = [level for level in clean if level not in group]
    behind = [f"{_label(level)} by {_behind(verdict, clean[0], level)}" for level in worse]
    if len(worse) > 2:
        which = "all" if len(group) == 1 else "the other"
        return [f"{which} {len(worse)} {'others ' if len(group) == 1 else ''}are worse, {behind[0]} to {behind[-1]}"]
    if not worse:
        return []
    first = f"{_label(worse[0])} is worse by {_behind(verdict, clean[0], worse[0])}"
    return [" and ".join([first, *behind[1:]])]


def _speed(verdict: Verdict, group: Sequence[LevelResult]) -> list[str]:
    """Who of the best group reaches the target soonest; "soonest" only when told from every other one that reaches it."""
    if len(group) == 1:
        return _own_speed(verdict, group[0])
    labels = {level.label: level for level in group}
    pairs = [pair for pair in verdict.speed if pair.a in labels and pair.b in labels]
    if not pairs:
        return []
    slower = {pair.a for pair in pairs}
    quickest = labels[next(pair.b for pair in pairs if pair.b not in slower)]
    cost = quickest.cost_to_target
    if cost is None or cost.seconds is None:
        return []
    mine = [pair for pair in pairs if pair.b == quickest.label]
    target = units.target(verdict.goal.target, verdict.goal.metric)
    of, reach = "of the best group", f"reaches {target}"
    if len(mine) + 1 < len(group):
        of, reach = f"of those in the best group that reach {target} with every seed", "does so"
    told = [pair for pair in mine if _told_apart(pair)]
    if not told:
        apart = any(_told_apart(pair) for pair in pairs)
        return [] if apart else [f"{of} none {reach} distinguishably sooner than another"]
    nearest = min(told, key=lambda pair: pair.ratio)
    text = f"{units.ratio(nearest.ratio)} sooner than {_label(labels[nearest.a])} {units.interval(nearest.interval, units.factor)}"
    in_time = f"in {units.seconds(cost.seconds)}, {text}"
    if len(told) == len(mine):
        return [f"{of} {_label(quickest)} {reach} soonest, {in_time}"]
    others = [labels[pair.a] for pair in reversed(mine) if pair not in told]
    return [f"{of} {_label(quickest)} {reach} {in_time}, though not distinguishably sooner than {_listed(others)}"]


def _own_speed(verdict: Verdict, level: LevelResult) -> list[str]:
    """When the one best level reaches the target, without a comparison."""
    cost = level.cost_to_target
    if cost is None or cost.seconds is None:
        return []
    target = units.target(verdict.goal.target, verdict.goal.metric)
    often = "" if cost.reached == cost.n else f" in {cost.reached} of {cost.n} finals"
    return [
        f"it reaches {target}{often} in {units.seconds(cost.seconds)}{_spaced(units.seconds_interval(cost.interval))}"
    ]


def _traded(verdict: Verdict, best: LevelResult) -> list[str]:
    """Where the search had a second goal, what the best level's point gave up for it."""
    if verdict.also is None:
        return []
    return trade(verdict.goal, verdict.also, [point for point in verdict.front if point.level == best.level])


def _diverged(verdict: Verdict) -> list[str]:
    """The levels with a diverged final, with how many; at most two by name."""
    levels = [level for level in verdict.levels if level.diverged]
    if len(levels) > 2:
        most = levels[-1]
        return [f"{len(levels)} others diverged, {_label(most)} in {most.diverged} of {_finals(most)} finals"]
    if not levels:
        return []
    first, *second = levels
    also = "".join(f" and {_label(level)} in {level.diverged} of {_finals(level)}" for level in second)
    return [f"{_label(first)} diverged in {first.diverged} of {_finals(first)} finals{also}"]


def _silent(verdict: Verdict) -> list[str]:
    levels = [level for level in verdict.levels if not level.n and not level.diverged]
    if not levels or len(levels) == len(verdict.levels):
        return []
    lost = sum(level.lost for level in levels)
    return [
        f"{_listed(levels)} {'has' if len(levels) == 1 else 'have'} no finished final"
        + (f" ({lost} lost)" if lost else "")
    ]


def _so_far(verdict: Verdict, seeds: int) -> list[str]:
    """How far the finals are, while a look that was declared is still to come."""
    if not any(level.n for level in verdict.levels) or all(look.taken for look in verdict.looks):
        return []
    return [f"so far {seeds} of {verdict.looks[-1].seeds} seeds count"]


def _behind(verdict: Verdict, best: LevelResult, level: LevelResult) -> str:
    """How much worse a level is than the best, as a positive gap with its interval."""
    pair = _pair(verdict, best, level)
    sign, metric = verdict.goal.sign, verdict.goal.metric
    ends = pair.interval if sign > 0 else (_negative(pair.interval[1]), _negative(pair.interval[0]))
    spread = units.half_width(ends)
    text = partial(units.number, metric=metric, spread=spread)
    return units.gap(sign * pair.difference, metric, spread=spread) + _bracket(ends, text)


def _negative(x: float | None) -> float | None:
    return None if x is None else -x


def _score(verdict: Verdict, level: LevelResult) -> str:
    """``97.8 % test accuracy [97.2, 98.4]``; without the interval where it is unbounded."""
    metric, spread = verdict.goal.metric, units.half_width(level.interval)
    text = partial(units.number, metric=metric, spread=spread)
    mean = units.value(level.mean, metric, spread=spread)
    return f"{mean} test {units.name(metric)}{_bracket(level.interval, text)}"


def _bracket(ends: Interval | None, text: Callable[[float], str]) -> str:
    """An interval after a space; nothing where there is none or it says nothing."""
    return "" if ends == (None, None) else _spaced(units.interval(ends, text))


def _spaced(text: str) -> str:
    return f" {text}" if text else ""


def _pair(verdict: Verdict, best: LevelResult, other: LevelResult) -> Comparison:
    return next(pair for pair in verdict.comparisons if (pair.a, pair.b) == (best.label, other.label))


def _told_apart(pair: SpeedComparison) -> bool:
    low, high = pair.interval
    return (low is not None and low > 1) or (high is not None and high < 1)


def _finals(level: LevelResult) -> int:
    """How many of a level's finals gave an answer."""
    return level.n + level.diverged


def _noun(verdict: Verdict) -> str:
    return units.name(verdict.factor[0]) if len(verdict.factor) == 1 else "combination" if verdict.factor else "recipe"


def _named(level: LevelResult) -> str:
    """A level with the names of its factors, to begin a sentence: ``Batch size 32``; the sweep's name without factors."""
    if not level.level:
        return level.label
    text = ", ".join(_factor(path, value, level) for path, value in level.level.items())
    return text[0].upper() + text[1:]


def _factor(path: str, value: Scalar, level: LevelResult) -> str:
    """One factor with its name: ``batch size 32``, ``norm True``, ``2 workers``."""
    if value is None or isinstance(value, bool):
        return f"{units.name(path)} {units.label(value)}"
    text = units.level_value(path, value, level.level)
    return text if units.name(path) == "workers" else f"{units.name(path)} {text}"


def _label(level: LevelResult) -> str:
    """A label as it stands among others: in brackets when it holds several values."""
    return f"({level.label})" if len(level.level) > 1 else level.label


def _listed(levels: Sequence[LevelResult]) -> str:
    """``16, 64 and 128``; more than three are counted."""
    names = [_label(level) for level in levels]
    if len(names) > 3:
        return f"{len(names)} others"
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
