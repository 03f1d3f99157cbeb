"""How far runs of one recipe spread, and how much of that is whose: initialisation, data order, split.

Each level's seeds draw something else, all else being as seed 0 has it; the level that draws all that any does is the *whole*. A
standard deviation and a ratio of variances get their intervals from one procedure: the jackknife of the logarithm (Miller,
"Jackknifing variances", *Annals of Mathematical Statistics* 39, 1968). A seed is left out in all levels at once, so that what
the levels have in common on it (seed 3 draws the same initialisation for two of them) is used. Unlike the interval by
chi-square it does not rely on normal scores; ``docs/statistics.md`` has the coverage of both.

A source is measured with the others held, so what it does *together with* them counts as its own: where training is
chaotic, whatever is changed draws much of a run's luck anew, and the sources add up to more than the whole.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from analysis import units
from analysis.finals import Finals
from analysis.ledger import Question
from analysis.records import Scalar
from analysis.student import beyond
from analysis.verdict import Interval

VARY = "vary"
"""The path of what the finals' seeds draw, where it is compared."""

FEWEST = 6
"""With fewer seeds a standard deviation has no interval."""

COUNTS = (8, 16, 32)
"""The numbers of seeds whose mean's standard error is said."""

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """What a level's seeds draw, and how far its scores spread: a standard deviation in the metric's own unit.

    ``level`` is its level's label. ``share`` is of the whole's variance, above 1 where a source alone spreads further; None without
    a whole, and for the whole itself. None is also what too few seeds do not tell.
    """

    label: str
    level: str
    drawn: Sequence[str]
    sd: float | None
    interval: Interval | None
    share: float | None = None
    share_interval: Interval | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class StandardError:
    """The standard error of a mean over so many seeds that draw everything."""

    seeds: int
    value: float
    interval: Interval | None


@dataclass(frozen=True, kw_only=True, slots=True)
class SpreadGroup:
    """The sources of one recipe, widest first, on the ``seeds`` that all of them finished; ``at`` names it among several.

    ``whole`` draws all that the others do, None where no level does. ``together`` is the sum of the sources' variances over the
    whole's, None where they are not its parts. ``scores`` by level's label, in the order of the seeds, are what this
    comes from.
    """

    at: str
    seeds: int
    whole: Source | None
    sources: Sequence[Source]
    together: float | None
    together_interval: Interval | None
    errors: Sequence[StandardError]
    scores: Mapping[str, Sequence[float]]

    @property
    def all(self) -> list[Source]:
        """The whole, then the sources."""
        return [*([self.whole] if self.whole is not None else []), *self.sources]


@dataclass(frozen=True, kw_only=True, slots=True)
class Spread:
    """All groups; ``alpha`` is what each interval leaves out."""

    groups: Sequence[SpreadGroup]
    alpha: float


def spread(question: Question, finals: Sequence[Finals], *, seeds: Sequence[int], alpha: float) -> Spread | None:
    """The spread of a sweep that compares what its seeds draw; None for any other.

    A level with a diverged final has none: it would be the spread of those that happened to survive.
    """
    if VARY not in question.factors:
        return None
    groups: dict[frozenset[tuple[str, Scalar]], list[Finals]] = {}
    for level in finals:
        if level.clean:
            groups.setdefault(frozenset(_others(level).items()), []).append(level)
    return Spread(groups=[_group(levels, seeds, alpha) for levels in groups.values()], alpha=alpha)


def interval(estimate: float, left_out: Array, *, alpha: float) -> Interval | None:
    """The jackknife's interval of a logarithm, from its estimate and those [n] that leave one seed out, as one of its number.

    None below ``FEWEST`` seeds, and where an estimate is not finite: a single seed is then all that differs.
    """
    n = len(left_out)
    if n < FEWEST or not math.isfinite(estimate) or not np.isfinite(left_out).all():
        return None
    low, high = jackknife(np.array(estimate), left_out, alpha=alpha)
    return _exp(float(low)), _exp(float(high))


def jackknife(estimate: Array, left_out: Array, *, alpha: float) -> tuple[Array, Array]:
    """The ends [...] of the interval of an estimate [...], from those [..., n] that leave one out."""
    n = left_out.shape[-1]
    pseudo = n * estimate[..., None] - (n - 1) * left_out
    reach = beyond(alpha / 2, n - 1) * pseudo.std(-1, ddof=1) / math.sqrt(n)
    middle = pseudo.mean(-1)
    return middle - reach, middle + reach


def variances(scores: Array) -> tuple[Array, Array]:
    """The variances of each row [..., n], and those [..., n] that leave one column out; n from 3."""
    n = scores.shape[-1]
    squares = np.square(scores - scores.mean(-1, keepdims=True))
    total = squares.sum(-1)
    # Rounding leaves something of a variance that is zero.
    left = total[..., None] - n / (n - 1) * squares
    left = np.where(left <= 1e-12 * total[..., None], 0.0, left)
    return total / (n - 1), left / (n - 2)


def _group(levels: Sequence[Finals], seeds: Sequence[int], alpha: float) -> SpreadGroup:
    scores = np.array([[level.scores[seed] for seed in seeds] for level in levels])
    drawn = [str(level.level[VARY]).split(" + ") for level in levels]
    everything = {name for names in drawn for name in names}
    place = next((place for place, names in enumerate(drawn) if everything == set(names)), None)
    at = ", ".join(
        f"{units.name(path)} {units.level_value(path, x, levels[0].level)}" for path, x in _others(levels[0]).items()
    )
    found = [_source(level.label, names, row, alpha) for level, names, row in zip(levels, drawn, scores, strict=True)]
    parts = [i for i in range(len(found)) if i != place]
    whole = found[place] if place is not None else None
    if place is not None and whole is not None and whole.sd:
        shares = [_ratio(scores[[i]], scores[place], alpha) for i in parts]
        sources = [
            replace(found[i], share=share, share_interval=ends) for i, (share, ends) in zip(parts, shares, strict=True)
        ]
    else:
        sources = [found[i] for i in parts]
    disjoint = sum(len(drawn[i]) for i in parts) == len(everything) == len({n for i in parts for n in drawn[i]})
    together: tuple[float | None, Interval | None] = (None, None)
    if place is not None and whole is not None and whole.sd and disjoint:
        together = _ratio(scores[parts], scores[place], alpha)
    return SpreadGroup(
        at=at,
        seeds=len(seeds),
        whole=whole,
        sources=sorted(sources, key=lambda source: -(source.sd or 0.0)),
        together=together[0],
        together_interval=together[1],
        errors=_errors(whole) if whole is not None and complete(whole) else [],
        scores={level.label: [float(x) for x in row] for level, row in zip(levels, scores, strict=True)},
    )


def _source(level: str, drawn: Sequence[str], scores: Array, alpha: float) -> Source:
    """One level's standard deviation; that of one seed is not known."""
    n = len(scores)
    if n < 3:
        sd = float(scores.std(ddof=1)) if n == 2 else None
        return Source(label=units.drawn(drawn), level=level, drawn=drawn, sd=sd, interval=None)
    variance, left = variances(scores)
    with np.errstate(divide="ignore"):
        ends = interval(float(np.log(variance)) / 2, np.log(left) / 2, alpha=alpha)
    sd = math.sqrt(float(variance))
    return Source(label=units.drawn(drawn), level=level, drawn=drawn, sd=sd, interval=ends)


def _ratio(parts: Array, whole: Array, alpha: float) -> tuple[float | None, Interval | None]:
    """The sum of the variances of ``parts`` [P, n] over that of ``whole`` [n], which is not 0."""
    if len(whole) < 3:
        return float(parts.var(-1, ddof=1).sum() / whole.var(ddof=1)), None
    above, above_left = variances(parts)
    below, below_left = variances(whole)
    with np.errstate(divide="ignore", invalid="ignore"):
        left = np.log(above_left.sum(0)) - np.log(below_left)
        ends = interval(float(np.log(above.sum()) - np.log(below)), left, alpha=alpha)
    return float(above.sum() / below), ends


def complete(source: Source) -> bool:
    """Whether its seeds draw all that a seed can: what else would be held is not in a mean over them."""
    return {*source.drawn} >= {*units.DRAWN}


def _errors(whole: Source) -> list[StandardError]:
    if whole.sd is None:
        return []
    low, high = whole.interval or (None, None)

    def over(x: float | None, n: int) -> float | None:
        return None if x is None else x / math.sqrt(n)

    return [
        StandardError(
            seeds=n,
            value=whole.sd / math.sqrt(n),
            interval=None if whole.interval is None else (over(low, n), over(high, n)),
        )
        for n in COUNTS
    ]


def _exp(x: float) -> float | None:
    """The number of a logarithm; None beyond what a float holds."""
    return math.exp(x) if x < 700 else None


def _others(level: Finals) -> dict[str, Scalar]:
    return {path: value for path, value in level.level.items() if path != VARY}
