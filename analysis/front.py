"""Two goals: which heats are best in one for what they are in the other."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from analysis import units
from analysis.ledger import Goal, Question
from analysis.records import Scalar, Stage, Status, TrialRecord

COSTS = ("seconds", "cpu_seconds", "gpu_seconds", "peak_bytes")
"""What a run costs, by its name in the ledger: what is recorded of every run."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FrontPoint:
    """A heat that no other of its level beats in both goals: its ``value`` in the task's, on validation, and in the ``second``.

    ``chosen`` is the one that went to the finals.
    """

    level: Mapping[str, Scalar]
    point: Mapping[str, Scalar]
    value: float
    second: float
    chosen: bool


def reached(record: TrialRecord, name: str) -> float | None:
    """What a run reached in a validation metric, or cost; None when it is not known or not finite."""
    value = getattr(record.cost, name) if name in COSTS else record.metrics.get(f"val/{name}")
    return float(value) if value is not None and math.isfinite(value) else None


def second_goal(question: Question) -> Goal | None:
    """The second goal, where the sweep has one."""
    also = question.raw.get("also")
    return Goal(metric=also["metric"], mode=also["mode"]) if also else None


def front(question: Question, records: Sequence[TrialRecord]) -> list[FrontPoint]:
    """The fronts of all levels in the question's order, each from the best in the task's goal to the best in the second.

    Completed heats alone count: a stopped one is cheap because it was stopped. Of equals the first is taken. Empty without a
    second goal.
    """
    second = second_goal(question)
    if second is None:
        return []
    found = []
    for level in question.levels:
        own = [record for record in records if dict(record.level) == level]
        finals = [record.point for record in own if record.stage is Stage.FINAL]
        heats = [record for record in own if record.stage is Stage.HEAT and record.status is Status.COMPLETED]
        known = [
            (value, price, record)
            for record in heats
            if (value := reached(record, question.goal.metric)) is not None
            and (price := reached(record, second.metric)) is not None
        ]
        best: float | None = None
        for value, price, record in sorted(
            known, key=lambda one: (-question.goal.sign * one[0], -second.sign * one[1])
        ):
            if best is None or second.better(price, best):
                best, chosen = price, record.point in finals
                found.append(FrontPoint(level=level, point=record.point, value=value, second=price, chosen=chosen))
    return found


def trade(goal: Goal, second: Goal, points: Sequence[FrontPoint]) -> list[str]:
    """What a level's point gave up for what, as a clause about "its point"; none where the front does not hold what was chosen."""
    if not points:
        return [f"no heat that ran to its end has a value for {units.name(second.metric)}, so that goal chose nothing"]
    chosen = next((point for point in points if point.chosen), None)
    if chosen is None:
        return []
    best, name = points[0], units.name(goal.metric)
    if chosen is best:
        return [f"its point has the best validation {name} of its heats, at {_written(best.second, second)}"]
    taken, given = (units.value(point.value, goal.metric) for point in (chosen, best))
    return [
        f"its point was chosen for its {units.name(second.metric)}: {taken} validation {name} at "
        f"{_written(chosen.second, second)}, where the best heat has {given} at {_written(best.second, second)}"
    ]


def _written(x: float, goal: Goal) -> str:
    """A value of the second goal with its unit."""
    if goal.metric.endswith("seconds"):
        return units.seconds(x)
    if goal.metric.endswith("bytes"):
        return units.size(x)
    return units.value(x, goal.metric)
