"""Verdicts made by hand for the tests of the page."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from analysis.ledger import Question
from analysis.records import Stage, Status, TrialRecord
from analysis.verdict import Comparison, CostToTarget, LevelResult, Needs, SpeedComparison, Verdict


def plain_verdict(question: Question, records: Sequence[TrialRecord]) -> Verdict:
    """Means and rough intervals of the finals, for a page to show; not a judgement."""
    finals: dict[str, list[TrialRecord]] = {}
    for record in records:
        label = ", ".join(str(v) for v in record.level.values())
        finals.setdefault(label, [])
        if record.stage is Stage.FINAL:
            finals[label].append(record)
    levels = []
    for label, group in finals.items():
        some = next(r for r in records if ", ".join(str(v) for v in r.level.values()) == label)
        scores = [r.metrics["test/accuracy"] for r in group if r.status is Status.COMPLETED]
        mean = float(np.mean(scores)) if scores else None
        half = 2.4 * float(np.std(scores)) / max(len(scores), 1) ** 0.5 if scores else 0.0
        levels.append(LevelResult(
            level=some.level, label=label, point=some.point, n=len(scores), mean=mean,
            interval=None if mean is None else (mean - half, mean + half), rank_group=1,
            diverged=sum(r.status is Status.DIVERGED for r in group), lost=sum(r.status.lost for r in group),
            scores={str(r.seed): r.metrics.get("test/accuracy") for r in group},
            cost_to_target=CostToTarget(seconds=3.1, interval=(2.4, 3.9), reached=max(len(scores) - 1, 0), n=len(scores)),
            heats=4, stopped=2))
    levels.sort(key=lambda level: -(level.mean or 0))
    best = levels[0]
    import dataclasses
    levels = [dataclasses.replace(l, rank_group=1 if l.mean and best.mean and best.mean - l.mean < 0.003 else 1 + i) for i, l in enumerate(levels)]
    comps, speed = [], []
    for a, b in itertools.combinations(levels, 2):
        if a.mean and b.mean:
            d = a.mean - b.mean
            comps.append(Comparison(a=a.label, b=b.label, difference=d, interval=(d - 0.005, d + 0.005), p=0.02, p_adjusted=0.09))
            if a is best:
                speed.append(SpeedComparison(a=b.label, b=a.label, ratio=1.0 + 30 * d, interval=(0.9 + 20 * d, 1.2 + 40 * d), p=0.008, p_adjusted=0.03))
    return Verdict(sweep=question.sweep, goal=question.goal, factor=list(question.factors), levels=levels, comparisons=comps, speed=speed,
        varied=question.varied, fixed=["this data set", "the tuned point"], method="Joint sign flips of paired differences, studentised max-T (Westfall and Young); simultaneous intervals by inverting it.",
        looks=[], smallest_detectable_gap=0.0062,
        answer=f"{best.label} is best on accuracy (0.974, 95 % interval 0.970 to 0.977); 128 is not distinguishable from it (p = 0.41); 512 is 0.054 worse [0.049, 0.059].",
        confidence=0.95, needs=Needs(seeds=21, why="Telling 64 from 128 needs more seeds than were run."))
