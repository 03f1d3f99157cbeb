"""How much each searched setting mattered: what of the heats' ranks can be foretold with it and not without it.

A Gaussian-kernel ridge regression foretells each heat's rank from the settings of all other heats (leave one out). Each setting
is taken out of it in turn and is worth what the foretelling loses (leave one covariate out, LOCO: Lei, G'Sell, Rinaldo,
Tibshirani and Wasserman, 2018). Settings that act together count with each of them, and what either of two that moved together
could explain counts with neither: the shares need not add up. A setting that does nothing adds only noise to the distances, so
its share lies at 0 or below.

All heats are compared at the last epoch that every one of them has reached, since a heat that was stopped has no later score.
They are ranked within their level, which has a search of its own; a diverged heat is the last. Intervals are percentiles over
heats drawn anew, widened for their small number.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt

from analysis.ledger import Question
from analysis.records import Scalar, Stage, Status, TrialRecord
from analysis.verdict import Interval

FEWEST = 10
"""Below so many heats nothing is said."""

MOST = 300
"""Of more heats so many are drawn at random: the time grows with their cube."""

SETTINGS = 2
"""Nor of fewer settings: where only one was searched, the score against it shows all there is."""

DEALT = 999
"""Dealings of the ranks for the test of all settings together."""

DRAWS = 2000
"""Sets of heats that are drawn for the intervals."""

_WIDTHS = (0.2, 0.35, 0.6, 1.0, 2.0)
"""Of the kernel, where a setting's whole range is 1."""
_RIDGES = (0.03, 0.1, 0.3, 1.0, 3.0)

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Importance:
    """One searched setting: the ``share`` of the heats' differences in rank that it alone explains, from below 0 up to 1.

    ``shown`` to matter where the interval lies above 0, and all settings together are shown to foretell anything.
    """

    path: str
    share: float
    interval: Interval
    shown: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Importances:
    """The settings, the most important first; ``explained`` is the share that all of them foretell together.

    ``p`` is how often ranks dealt at random are foretold as well. ``epoch`` is the last one that all of the ``heats`` reached.
    """

    settings: Sequence[Importance]
    explained: float
    p: float
    heats: int
    epoch: int
    confidence: float


def importances(
    question: Question, records: Sequence[TrialRecord], *, confidence: float = 0.95, seed: int = 0
) -> Importances | None:
    """How much each searched setting mattered; None with too few heats or settings, or where no epoch is common to the heats."""
    generator = np.random.default_rng(seed)
    heats = [record for record in records if _counts(record)]
    if len(heats) > MOST:
        heats = [heats[int(place)] for place in np.sort(generator.choice(len(heats), MOST, replace=False))]
    epoch = _common_epoch(heats, question.goal.metric)
    if len(heats) < FEWEST or epoch is None:
        return None
    ranks = _ranks(question, heats, epoch)
    paths = _settings(question, heats)
    if len(paths) < SETTINGS or not np.any(ranks):
        return None
    level = _one_of(_names(heats))
    columns = {path: _coordinates(question, path, [heat.point.get(path) for heat in heats]) for path in paths}
    errors = _errors(np.hstack([level, *columns.values()]), ranks)
    without = {
        path: _errors(np.hstack([level, *(columns[other] for other in paths if other != path)]), ranks)
        for path in paths
    }
    nothing = _errors_of_nothing(ranks)
    p = _chance(np.hstack([level, *columns.values()]), ranks, _names(heats), generator)
    drawn = generator.integers(len(heats), size=(DRAWS, len(heats)))
    found = []
    for path in paths:
        share, interval = _share(without[path] - errors, nothing, drawn, confidence)
        shown = interval[0] > 0 and p <= 1 - confidence
        found.append(Importance(path=path, share=share, interval=interval, shown=shown))
    return Importances(
        settings=sorted(found, key=lambda one: -one.share),
        explained=1 - float(errors.mean() / nothing.mean()),
        p=p,
        heats=len(heats),
        epoch=epoch,
        confidence=confidence,
    )


def _chance(places: Array, ranks: Array, levels: Sequence[str], generator: np.random.Generator) -> float:
    """How often ranks that are dealt at random within each level are foretold as well as the true ones, which count too.

    The kernel is chosen anew for each dealing, as it was for the true ranks: the best of many fits anything a little.
    """
    dealt = np.repeat(ranks[:, None], DEALT, axis=1)
    for name in set(levels):
        own = np.flatnonzero([level == name for level in levels])
        dealt[own] = generator.permuted(dealt[own], axis=0)
    true = _errors(places, ranks).mean()
    return float((1 + (_least(places, dealt) <= true * (1 + 1e-9)).sum()) / (1 + DEALT))


def _share(
    lost: Array, nothing: Array, drawn: npt.NDArray[np.int64], confidence: float
) -> tuple[float, tuple[float, float]]:
    """From how much worse each heat is foretold without a setting [N]; ``nothing`` are the errors of foretelling the mean."""
    shares = lost[drawn].mean(1) / np.maximum(nothing[drawn].mean(1), 1e-12)
    outside = _outside(confidence, len(lost))
    low, high = np.quantile(shares, (outside, 1 - outside))
    return float(lost.mean() / nothing.mean()), (float(low), float(high))


def _outside(confidence: float, n: int) -> float:
    """The share of draws beyond either end of an interval from n values: fewer than (1 - confidence) / 2 where n is small.

    Percentiles of few values are too narrow; Hesterberg (2015) widens them as Student's t widens the normal's. Student's quantile
    is expanded about the normal's (Abramowitz and Stegun, 26.7.5).
    """
    z, v = NormalDist().inv_cdf((1 + confidence) / 2), n - 1
    t = z + (z**3 + z) / (4 * v) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * v**2)
    return NormalDist().cdf(-t * math.sqrt(n / v))


def _counts(record: TrialRecord) -> bool:
    """True for a heat that has ended by itself or its stopping rule, under one and the same settings."""
    whole = record.parent is None and not record.earlier and record.until is None
    return record.stage is Stage.HEAT and whole and record.status.settled


def _common_epoch(heats: Sequence[TrialRecord], metric: str) -> int | None:
    """The last epoch at which every heat that did not diverge has a score."""
    common: set[int] | None = None
    for heat in heats:
        if heat.status is not Status.DIVERGED:
            own = set(_scores(heat, metric))
            common = own if common is None else common & own
    return max(common) if common else None


def _scores(heat: TrialRecord, metric: str) -> dict[int, float]:
    """The finite validation scores by epoch."""
    found = {}
    for row in heat.history:
        value, epoch = row.get(f"val/{metric}"), row.get("epoch")
        if isinstance(epoch, int) and isinstance(value, int | float) and math.isfinite(value):
            found[epoch] = float(value)
    return found


def _ranks(question: Question, heats: Sequence[TrialRecord], epoch: int) -> Array:
    """Each heat's rank within its level, from -0.5 for the worst to 0.5 for the best; equals share theirs."""
    scores = np.array(
        [
            -math.inf
            if heat.status is Status.DIVERGED
            else question.goal.sign * _scores(heat, question.goal.metric)[epoch]
            for heat in heats
        ]
    )
    names = _names(heats)
    ranks = np.zeros(len(heats))
    for name in set(names):
        place = np.array([other == name for other in names])
        own = scores[place]
        below, equal = (own[:, None] > own).sum(1), (own[:, None] == own).sum(1)
        ranks[place] = (below + equal / 2) / len(own) - 0.5
    return ranks


def _names(heats: Sequence[TrialRecord]) -> list[str]:
    """The level of each heat as text."""
    return [str(sorted(heat.level.items(), key=str)) for heat in heats]


def _settings(question: Question, heats: Sequence[TrialRecord]) -> list[str]:
    """The searched paths that at least ``FEWEST`` heats have, and that vary among them."""
    paths = dict.fromkeys(path for heat in heats for path in heat.point if path not in question.factors)
    values = {path: [heat.point[path] for heat in heats if path in heat.point] for path in paths}
    return [path for path, seen in values.items() if len(seen) >= FEWEST and len(set(map(str, seen))) > 1]


def _coordinates(question: Question, path: str, values: Sequence[Scalar]) -> Array:
    """A setting as coordinates [N, D] in which its range, or the step from one option to another, is 1.

    A heat without it lies in the middle, and as far from the others as one option from another.
    """
    known = [value for value in values if value is not None]
    if any(isinstance(value, bool) or not isinstance(value, int | float) for value in known):
        return _one_of([str(value) for value in values])
    numbers = np.array([math.nan if value is None else float(value) for value in values])
    space: Mapping[str, Any] = question.raw.get("space") or {}
    low, high = float(np.nanmin(numbers)), float(np.nanmax(numbers))
    # A space that does not say how it was drawn is seen from its spread.
    if low > 0 and ("log" in str(space.get(path, "")) or high >= 50 * low):
        numbers, low, high = np.log(numbers), math.log(low), math.log(high)
    places = ((numbers - low) / (high - low))[:, None]
    missing = np.isnan(places)
    places = np.where(missing, 0.5, places)
    return np.hstack([places, missing.astype(float)]) if missing.any() else places


def _one_of(options: Sequence[str]) -> Array:
    """Options as corners [N, D] of which any two are 1 apart; no column where there is one option."""
    names = sorted(set(options))
    if len(names) < 2:
        return np.zeros((len(options), 0))
    return np.array([[option == name for name in names] for option in options], dtype=float) / math.sqrt(2)


def _errors(places: Array, ranks: Array) -> Array:
    """The squared errors [N] of foretelling each rank from all other heats, by the kernel and ridge that do so best.

    Foretelling the mean is one of the candidates.
    """
    best = _errors_of_nothing(ranks)
    for errors in _candidates(places, ranks[:, None]):
        if errors.mean() < best.mean():
            best = errors[:, 0]
    return best


def _least(places: Array, ranks: Array) -> Array:
    """The mean of ``_errors`` for each column of ranks [N, M], as [M]."""
    least = np.array(_errors_of_nothing(ranks).mean(0))
    for errors in _candidates(places, ranks):
        least = np.minimum(least, errors.mean(0))
    return least


def _candidates(places: Array, ranks: Array) -> Iterator[Array]:
    """The squared errors [N, M] of foretelling ranks [N, M] by each kernel and ridge; none without a coordinate."""
    if not places.shape[1]:
        return
    squares = np.square(places[:, None, :] - places[None, :, :]).sum(-1)
    for width in _WIDTHS:
        values, vectors = np.linalg.eigh(np.exp(-squares / (2 * width**2)))
        turned = vectors.T @ ranks
        for ridge in _RIDGES:
            shrunk = 1 / (np.maximum(values, 0.0) + ridge)
            # The error of leaving one out, without fitting anew: of ridge regression it is known in closed form.
            inverse = np.square(vectors) @ shrunk
            yield np.square((vectors @ (shrunk[:, None] * turned)) / inverse[:, None])


def _errors_of_nothing(ranks: Array) -> Array:
    """The squared errors of foretelling each rank by the mean of the others, for ranks [N] or [N, M]."""
    n = len(ranks)
    return np.asarray(np.square((ranks - ranks.mean(0)) * n / (n - 1)))
