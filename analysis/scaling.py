"""How training scales with the number of workers: throughput, speed-up, efficiency, and what they cost.

Levels that agree in all but the number of workers form a group. Where the effective batch stays the same as workers are
added, the group shows strong scaling; where it grows in proportion, weak scaling. Which of the two it is follows from the
steps that the finals took over their samples (``effective_batch``), not from what the levels are called.

Throughput is samples trained a second of training time, validation not counted. A speed-up is the ratio of two throughputs on the
same seed; all speed-ups are compared by sign flips of their logarithms (``signflip``), as everything else is: intervals are
simultaneous, and below the fewest seeds there is none.

A batch of 256 on two workers and one of 128 a worker on two are one configuration. Where the sweep ran it once, ``sweep.json``
says so (``equal``), and its finals stand in both groups; where it ran it twice, the two are ``Twins``, whose difference is noise.

What slows a machine for a moment is skewed, but it strikes either of a pair alike, so their difference is symmetric, which is what
sign flips ask for.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median

import numpy as np

from analysis import units
from analysis.effective_batch import Batches, Growth, growth
from analysis.finals import Finals
from analysis.ledger import Question
from analysis.records import Row, Scalar, TrialRecord
from analysis.signflip import FlipTest, compare, mean_interval
from analysis.target import like_with_like
from analysis.verdict import Interval

WORKERS = "resources.workers"
"""The path of the number of workers, where it is compared."""

WARM_UP_FROM = 3
"""From so many epochs on, the first one is left out as warm-up."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ScalingPoint:
    """One number of workers of a group; what is unknown is None, never 0.

    ``n`` finals have a throughput (samples a second, the geometric mean); ``interval`` is its own. ``speed_up`` is against
    the fewest workers of the group, ``efficiency`` is that over the ratio of workers; their intervals are simultaneous over
    all speed-ups, None at the fewest workers themselves. ``batch`` is the effective one. ``peak_bytes`` is the most that one
    worker held in any final, ``peak_bytes_in_all`` the most that all together can have held. ``cpu_seconds`` are those of
    1,000 samples, all workers together, with validation; ``joules`` those of one sample.
    """

    label: str
    workers: int
    n: int
    batch: int | None
    throughput: float | None
    interval: Interval | None
    speed_up: float | None
    speed_up_interval: Interval | None
    efficiency: float | None
    efficiency_interval: Interval | None
    peak_bytes: int | None
    peak_bytes_in_all: int | None
    cpu_seconds: float | None
    joules: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class ScalingGroup:
    """Levels that differ in their workers alone, fewest first.

    ``kind`` is None where the finals do not say. ``batch`` is the one that all share (strong) or that each worker has (weak).
    ``label`` tells the groups apart in a few words; ``at`` is how a sentence says it, empty where there is nothing to say.
    """

    label: str
    at: str
    kind: Growth | None
    batch: int | None
    points: Sequence[ScalingPoint]


@dataclass(frozen=True, kw_only=True, slots=True)
class Twins:
    """Two levels of different groups that are one configuration, run twice: whatever differs between them is noise.

    ``ratio`` is the second's throughput over the first's, on the seeds that both have, with its own interval; None without such
    seeds. ``same_scores`` is True where both reached the same on every such seed.
    """

    first: str
    second: str
    ratio: float | None
    interval: Interval | None
    same_scores: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Scaling:
    """All groups; ``seeds`` are how many the speed-ups were compared on, 0 where there is none.

    ``warm_up`` is True when the first epoch of each final was left out. ``like_with_like`` is False when the finals ran in several
    lanes or on different hardware, which forbids speed-ups. ``cores`` of the one machine and ``threads`` of a worker are None where
    not known, or where GPUs did the work.
    """

    groups: Sequence[ScalingGroup]
    seeds: int
    warm_up: bool
    like_with_like: bool
    cores: int | None
    threads: int | None
    twins: Sequence[Twins] = ()

    @property
    def oversubscribed(self) -> list[int]:
        """The numbers of workers that have more threads than the machine has cores, as far as both are known."""
        counts = sorted({point.workers for group in self.groups for point in group.points})
        return [n for n in counts if self.cores and self.threads and n * self.threads > self.cores]


def scaling(question: Question, finals: Sequence[Finals], *, seeds: Sequence[int], alpha: float) -> Scaling | None:
    """The scaling of a sweep that compares numbers of workers; None for any other.

    Only finals that finished count; speed-ups are compared on those of ``seeds`` that all compared levels have, with family-wise
    error ``alpha``.
    """
    if WORKERS not in question.factors:
        return None
    usable = [level for level in _standing(question, finals) if _count(level.level.get(WORKERS))]
    warm_up = all(len(r.history) >= WARM_UP_FROM for level in usable for r in level.finished.values())
    rates = {level.label: _rates(level, warm_up=warm_up) for level in usable}
    groups = _grouped(usable)
    timed = like_with_like(finals)
    test, pairs, shared = None, _pairs(groups, rates), list(seeds)
    for seen in (rates[label] for label in dict.fromkeys(label for pair in pairs for label in pair)):
        shared = [seed for seed in shared if seed in seen]
    if timed and pairs and shared:
        test = compare(
            np.array([[math.log(rates[a][seed] / rates[b][seed]) for seed in shared] for a, b in pairs]), alpha=alpha
        )
    compared = _Compared(pairs=pairs, test=test, rates=rates, warm_up=warm_up, alpha=alpha)
    shown = [_group(question, group, compared) for group in groups]
    return Scaling(
        groups=shown,
        twins=_twins(groups, shown, compared),
        seeds=len(shared) if test is not None else 0,
        warm_up=warm_up and any(rates.values()),
        like_with_like=timed,
        cores=_cores(question),
        threads=_count(question.raw.get("threads")),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Compared:
    """The throughputs by level and seed, and the test of the pairs (more workers, fewest workers) of them."""

    pairs: Sequence[tuple[str, str]]
    test: FlipTest | None
    rates: Mapping[str, Mapping[int, float]]
    warm_up: bool
    alpha: float

    def speed_up(self, label: str, base: str) -> tuple[float, Interval | None] | None:
        """How many times as fast a level is as ``base``, the fewest workers of its group; 1 without an interval for it."""
        if self.test is None:
            return None
        for place, (more, fewest) in enumerate(self.pairs):
            if fewest == base and label == more:
                return math.exp(self.test.mean[place]), _exp(self.test.low[place], self.test.high[place])
            if fewest == base and label == base:
                return 1.0, None
        return None


def _standing(question: Question, finals: Sequence[Finals]) -> list[Finals]:
    """The finals of every level, with those that stand for another level's once more under that one, label and all."""
    found = list(finals)
    for entry in question.raw.get("equal") or ():
        ran = next((level for level in finals if dict(level.level) == entry["run_as"]), None)
        if ran is not None:
            found.append(replace(ran, level=entry["level"]))
    return found


def _twins(groups: Sequence[Sequence[Finals]], shown: Sequence[ScalingGroup], compared: _Compared) -> list[Twins]:
    """The levels that are one configuration and yet two runs."""
    found: dict[tuple[object, ...], Finals] = {}
    twins = []
    for levels, group in zip(groups, shown, strict=True):
        for level, point in zip(levels, group.points, strict=True):
            rest = frozenset((path, value) for path, value in _others(level).items() if path != "batch_size")
            first = found.setdefault((point.workers, point.batch, rest), level)
            if point.batch is not None and first.label != level.label:
                twins.append(_twin(first, level, compared))
    return twins


def _twin(first: Finals, second: Finals, compared: _Compared) -> Twins:
    before, after = compared.rates[first.label], compared.rates[second.label]
    logs = [math.log(after[seed] / before[seed]) for seed in sorted(before.keys() & after.keys())]
    scored = first.scores.keys() & second.scores.keys()
    return Twins(
        first=first.label,
        second=second.label,
        ratio=math.exp(sum(logs) / len(logs)) if logs else None,
        interval=_exp(*mean_interval(np.array(logs), alpha=compared.alpha)) if logs else None,
        same_scores=all(math.isclose(first.scores[seed], second.scores[seed], rel_tol=1e-9) for seed in scored),
    )


def _grouped(levels: Sequence[Finals]) -> list[list[Finals]]:
    """Levels that agree in all but their workers, fewest workers first."""
    groups: dict[frozenset[tuple[str, Scalar]], list[Finals]] = {}
    for level in levels:
        groups.setdefault(frozenset(_others(level).items()), []).append(level)
    return [sorted(group, key=_workers) for group in groups.values()]


def _pairs(groups: Sequence[Sequence[Finals]], rates: Mapping[str, Mapping[int, float]]) -> list[tuple[str, str]]:
    """Each level against the fewest workers of its group, among those with a throughput."""
    known = [[level.label for level in group if rates[level.label]] for group in groups]
    return [(more, group[0]) for group in known for more in group[1:]]


def _group(question: Question, levels: Sequence[Finals], compared: _Compared) -> ScalingGroup:
    fitting = {_workers(level): Batches.of(list(level.finished.values())) for level in levels}
    grown = growth({workers: batches for workers, batches in fitting.items() if batches is not None})
    kind, batches = grown if grown is not None else (None, None)
    others = _others(levels[0])
    batch = None if batches is None else batches.named(others.get("batch_size", _fixed_batch(question)))
    label, at = _words(others, kind, batch)
    base = next((level for level in levels if compared.rates[level.label]), levels[0])
    points = [_point(level, compared, base, _in_all(batch, kind, _workers(level))) for level in levels]
    return ScalingGroup(label=label, at=at, kind=kind, batch=batch, points=points)


def _point(level: Finals, compared: _Compared, base: Finals, batch: int | None) -> ScalingPoint:
    workers, records = _workers(level), list(level.finished.values())
    logs = [math.log(rate) for rate in compared.rates[level.label].values()]
    speed_up, interval = compared.speed_up(level.label, base.label) or (None, None)
    ideal = workers / _workers(base)
    peak = max((record.cost.peak_bytes for record in records if record.cost.peak_bytes), default=None)
    return ScalingPoint(
        label=level.label,
        workers=workers,
        n=len(logs),
        batch=batch,
        throughput=math.exp(sum(logs) / len(logs)) if logs else None,
        interval=_exp(*mean_interval(np.array(logs), alpha=compared.alpha)) if logs else None,
        speed_up=speed_up,
        speed_up_interval=interval,
        efficiency=None if speed_up is None else speed_up / ideal,
        efficiency_interval=None if interval is None else (_over(interval[0], ideal), _over(interval[1], ideal)),
        peak_bytes=peak,
        peak_bytes_in_all=None if peak is None else peak * workers,
        cpu_seconds=_median([_cpu_seconds(record, warm_up=compared.warm_up) for record in records]),
        joules=_median([_over(record.cost.joules, record.samples) for record in records]),
    )


def _words(others: Mapping[str, Scalar], kind: Growth | None, batch: int | None) -> tuple[str, str]:
    """A group's label and what a sentence says of it: ``256 in all`` and ``at the same batch of 256``."""
    # The workers are not among the others, but make a batch one "in all".
    written = {path: units.level_value(path, value, {WORKERS: None}) for path, value in others.items()}
    everything = ", ".join(written.values())
    rest = ", ".join(text for path, text in written.items() if path != "batch_size")
    also, within = (f", {rest}", f" ({rest})") if rest else ("", "")
    if kind is None:
        return everything or "all", f"at {everything}" if everything else ""
    if batch is None:
        words = "at the same batch" if kind is Growth.STRONG else "with a batch that grows with them"
        return everything or kind.value, f"{words} ({everything})" if everything else words
    if kind is Growth.STRONG:
        return f"{batch} in all{also}", f"at the same batch of {batch}{within}"
    return f"{batch} a worker{also}", f"at {batch} a worker{within}"


def _in_all(batch: int | None, kind: Growth | None, workers: int) -> int | None:
    return batch * workers if batch is not None and kind is Growth.WEAK else batch


def _rates(level: Finals, *, warm_up: bool) -> dict[int, float]:
    """Samples a second of training by seed, of the finals whose clock is known."""
    found = {}
    for seed, record in level.finished.items():
        rate = _over(_grown(record, "samples", warm_up=warm_up), _grown(record, "seconds", warm_up=warm_up))
        if rate is not None and rate > 0:
            found[seed] = rate
    return found


def _cpu_seconds(record: TrialRecord, *, warm_up: bool) -> float | None:
    """CPU seconds of 1,000 samples."""
    found = _over(_grown(record, "cpu_seconds", warm_up=warm_up), _grown(record, "samples", warm_up=warm_up))
    return None if found is None else 1000 * found


def _grown(record: TrialRecord, name: str, *, warm_up: bool) -> float | None:
    """How much a sum of the history grew over the epochs that count; None where it is not known."""
    if not record.history:
        return None
    last, first = _known(record.history[-1], name), _known(record.history[0], name) if warm_up else 0.0
    return None if last is None or first is None else last - first


def _over(a: float | None, b: float | None) -> float | None:
    """The ratio, None where a part is not known or there is nothing to divide by."""
    return None if a is None or b is None or b <= 0 else a / b


def _median(values: Sequence[float | None]) -> float | None:
    """The median where every value is known."""
    known = [value for value in values if value is not None]
    return median(known) if known and len(known) == len(values) else None


def _known(row: Row, name: str) -> float | None:
    value = row.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def _cores(question: Question) -> int | None:
    """The cores of the one machine that trained on its CPU."""
    hardware = question.raw.get("hardware")
    return _count(hardware.get("cores")) if isinstance(hardware, Mapping) and not hardware.get("gpus") else None


def _fixed_batch(question: Question) -> Scalar:
    recipe = question.raw.get("recipe")
    value: Scalar = recipe.get("batch_size") if isinstance(recipe, Mapping) else None
    return value


def _exp(low: float, high: float) -> Interval:
    """An interval of logarithms as one of ratios."""
    return math.exp(low) if math.isfinite(low) else None, math.exp(high) if math.isfinite(high) else None


def _others(level: Finals) -> dict[str, Scalar]:
    return {path: value for path, value in level.level.items() if path != WORKERS}


def _workers(level: Finals) -> int:
    return _count(level.level[WORKERS]) or 1


def _count(value: object) -> int | None:
    """The value as a whole number above 0, else None."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None
