"""What a sweep over the sources of spread answers: how far runs spread, how much each source gives, and what that means."""

from __future__ import annotations

import math
from collections.abc import Sequence

from analysis import units
from analysis.spread import FEWEST, Source, Spread, SpreadGroup, complete
from analysis.verdict import Needs, Verdict

WANTED = 0.1
"""How far off a standard deviation may be for it to be called known well."""


def spread_clauses(verdict: Verdict) -> list[str]:
    """The clauses of the answer's sentence; none where no spread is known."""
    groups = [] if verdict.spread is None else [group for group in verdict.spread.groups if _known(group)]
    if not groups:
        return []
    metric = verdict.goal.metric
    first, *others = groups
    clauses = [_lead(first, metric)]
    if first.seeds < FEWEST:
        clauses.append(f"{_seeds(first.seeds)} give no interval, which takes at least {FEWEST}")
    clauses += [_other(group, metric) for group in others]
    if first.together is not None and first.seeds >= FEWEST:
        ends = units.interval(first.together_interval, percent)
        clauses.append(f"their variances add up to {percent(first.together)} % of that{_spaced(ends)}{_means(first)}")
    return [*clauses, *_error(first, metric)]


def percent(x: float | None) -> str:
    """A share of the variance in whole percent, without a sign: ``38``, ``<1``; a dash where it is not known."""
    if x is None:
        return units.DASH
    return "<1" if 0 < x < 0.005 else units.count(100 * x)


def deviation(source: Source, metric: str) -> tuple[str, str]:
    """A standard deviation as words, and its interval, empty where there is none."""
    spread = units.half_width(source.interval)
    ends = units.interval(source.interval, lambda x: units.number(x, metric, spread=spread))
    return units.gap(source.sd, metric, spread=spread), ends


def add_up(group: SpreadGroup) -> bool | None:
    """True where the sources have all of the whole's variance within the interval, False where they have not; None unknown."""
    low, high = group.together_interval or (None, None)
    return None if low is None or high is None else low <= 1 <= high


def method(spread: Spread) -> str:
    """How the figures came about."""
    return (
        "Standard deviations of the finals' test scores over the seeds that all levels finished; their intervals, and those of "
        "ratios of variances, by the jackknife of the logarithm (Miller 1968), a seed left out in all levels at once, each at a "
        f"two-sided alpha of {spread.alpha:.4g}. Means of levels that draw different things are not compared."
    )


def needs(spread: Spread) -> Needs:
    """How many seeds it would take to know the widest spread to a tenth."""
    known = [group for group in spread.groups if group.all]
    if not known or known[0].seeds < FEWEST:
        return Needs(seeds=FEWEST, why="with fewer, a standard deviation has no interval")
    source, n = known[0].all[0], known[0].seeds
    low, high = source.interval or (None, None)
    if not low or high is None:
        return Needs(seeds=None, why="the scores hardly differ, so no number of seeds can be named")
    half = math.log(high / low) / 2
    if half <= math.log(1 + WANTED):
        return Needs(seeds=None, why=f"the spread is known to {100 * WANTED:g} %, by {n} seeds a level")
    wanted = math.ceil(n * (half / math.log(1 + WANTED)) ** 2)
    return Needs(
        seeds=wanted, why=f"for an interval of the standard deviation that reaches {100 * WANTED:g} % up and down"
    )


def _lead(group: SpreadGroup, metric: str) -> str:
    what, at = f"test {units.name(metric)}", f" at {group.at}" if group.at else ""
    over = f"standard deviation over {_seeds(group.seeds)}"
    if group.whole is not None and group.sources:
        size, by = _sized(group.whole, metric), "" if complete(group.whole) else f" by {group.whole.label}"
        return (
            f"Of the spread of {what}{by}{at}, {size} ({over}), {_listed(group.sources, metric, alone=' alone gives')}"
        )
    if group.whole is not None:
        return f"{_capital(what)}{at} spreads by {_sized(group.whole, metric)} ({over})"
    return f"{_capital(what)}{at} spreads ({over}) with {_listed(group.sources, metric, alone=' alone by')}"


def _listed(sources: Sequence[Source], metric: str, *, alone: str) -> str:
    """``the split alone gives 1.1 points [1.0, 1.3], initialisation 0.5 [0.4, 0.6] and data order 0.4 [0.3, 0.5]``."""
    first, *others = sources
    texts = [f"{_named(first)}{alone} {_sized(first, metric)}"]
    texts += [f"{_named(source)} {_sized(source, metric, unit=False)}" for source in others]
    return " and ".join([", ".join(texts[:-1]), texts[-1]] if len(texts) > 1 else texts)


def _other(group: SpreadGroup, metric: str) -> str:
    """What another recipe's whole is, or its widest source."""
    source = group.all[0]
    return f"at {group.at} {'it is' if group.whole is not None else _named(source)} {_sized(source, metric)}"


def _error(group: SpreadGroup, metric: str) -> list[str]:
    if not group.errors or group.seeds < FEWEST:
        return []
    error = group.errors[0]
    spread = units.half_width(error.interval)
    ends = units.interval(error.interval, lambda x: units.number(x, metric, spread=spread))
    size = units.gap(error.value, metric, spread=spread)
    return [f"a mean over {error.seeds} seeds has a standard error of {size}{_spaced(ends)}"]


def _means(group: SpreadGroup) -> str:
    """What it means that the sources do not add up."""
    if add_up(group) is not False:
        return ""
    if (group.together or 0.0) > 1:
        return ", so they overlap: what one draws changes what the others do"
    return ", less than all of it: seed 0 holds the others where runs spread less"


def _sized(source: Source, metric: str, *, unit: bool = True) -> str:
    size, ends = deviation(source, metric)
    if not unit:
        size = size.removesuffix(" points").removesuffix(" point")
    return f"{size}{_spaced(ends)}"


def _named(source: Source) -> str:
    return f"the {source.label}" if source.label == "split" else source.label


def _known(group: SpreadGroup) -> bool:
    return bool(group.all) and all(source.sd is not None for source in group.all)


def _seeds(n: int) -> str:
    return f"{units.count(n)} seed{'' if n == 1 else 's'}"


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


def _spaced(text: str) -> str:
    return f" {text}" if text else ""
