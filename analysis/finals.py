"""The finals of a sweep by level: what each level scored on which seed, and what became of the rest."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from analysis import units
from analysis.ledger import Question
from analysis.records import Scalar, Stage, Status, TrialRecord, Turn


@dataclass(frozen=True, kw_only=True, slots=True)
class Finals:
    """One level's finals, all at one tuned point, with the same settings before it where they change in mid-run.

    A final that is running, or not run yet, is simply absent. ``stopped`` heats are those cut before their end.

    ``finished`` are completed with a finite score; ``diverged`` also holds a completed final whose score is absent or not
    finite; ``lost`` failed, ran out of memory, or was stopped before its end.
    """

    level: Mapping[str, Scalar]
    label: str
    point: Mapping[str, Scalar]
    earlier: tuple[Turn, ...]
    finished: Mapping[int, TrialRecord]
    scores: Mapping[int, float]
    diverged: Mapping[int, TrialRecord]
    lost: Mapping[int, TrialRecord]
    heats: int
    stopped: int

    @property
    def clean(self) -> bool:
        """True when the level can be compared: something finished, nothing diverged."""
        return bool(self.scores) and not self.diverged

    @property
    def mean(self) -> float:
        """The mean over the finals that finished; NaN when there is none."""
        return self.mean_over(self.scores)

    def mean_over(self, seeds: Sequence[int] | Mapping[int, object]) -> float:
        """The mean score over these seeds, all of which have to be finished; NaN for no seed."""
        return float(np.mean([self.scores[seed] for seed in seeds])) if len(seeds) else math.nan

    @property
    def share_diverged(self) -> float:
        """The share of diverged finals among those that gave an answer; 0 when none did."""
        return len(self.diverged) / max(1, len(self.diverged) + len(self.finished))

    @property
    def used(self) -> list[TrialRecord]:
        """The finals that gave an answer, by seed."""
        answered = {**self.finished, **self.diverged}
        return [answered[seed] for seed in sorted(answered)]


def gather(question: Question, records: Sequence[TrialRecord]) -> list[Finals]:
    """The finals of every level that the question names, in its order; levels that it does not name are left out.

    A level's finals are those at the point of its most recent final: when a search is extended its winner may change, and
    scores of different points do not mix. Without factors there is one level, ``{}``, labelled with the sweep's name.
    """
    by_level: dict[frozenset[tuple[str, Scalar]], list[TrialRecord]] = {}
    for record in records:
        by_level.setdefault(frozenset(record.level.items()), []).append(record)
    return [_finals(question, level, by_level.get(frozenset(level.items()), [])) for level in question.levels]


def shared_seeds(levels: Sequence[Finals]) -> list[int]:
    """The seeds which every one of the levels finished, ascending; none for no level."""
    return sorted(set.intersection(*(set(level.scores) for level in levels))) if levels else []


def _finals(question: Question, level: Mapping[str, Scalar], records: Sequence[TrialRecord]) -> Finals:
    finals = [record for record in records if record.stage is Stage.FINAL]
    heats = [record for record in records if record.stage is Stage.HEAT and record.status is not Status.RUNNING]
    # A ledger without times is in the order of its ids' first lines, so the later of two equals wins.
    latest = max(enumerate(finals), key=lambda item: (item[1].started or 0.0, item[0]), default=(0, None))[1]
    point, earlier = ({}, ()) if latest is None else (latest.point, latest.earlier)
    metric = f"test/{question.goal.metric}"
    finished: dict[int, TrialRecord] = {}
    diverged: dict[int, TrialRecord] = {}
    lost: dict[int, TrialRecord] = {}
    for record in finals:
        if (record.point, record.earlier) != (point, earlier) or record.status is Status.RUNNING:
            continue
        for outcome in (finished, diverged, lost):
            outcome.pop(record.seed, None)  # the latest of a seed counts
        score = record.metrics.get(metric)
        if record.status.lost or record.status is Status.STOPPED:
            lost[record.seed] = record
        elif record.status is Status.DIVERGED or score is None or not math.isfinite(score):
            diverged[record.seed] = record
        else:
            finished[record.seed] = record
    return Finals(
        level=level,
        label=units.level(level, question.sweep),
        point=point,
        earlier=earlier,
        finished=finished,
        scores={seed: float(record.metrics[metric]) for seed, record in finished.items()},
        diverged=diverged,
        lost=lost,
        heats=len(heats),
        stopped=sum(record.status is Status.STOPPED and record.until is None for record in heats),
    )
