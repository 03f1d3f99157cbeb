"""Two goals: which heats are best in one for what they are in the other."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
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


@dataclass(frozen=True, kw_only=True, slots=True)
class Attempt:
    """A heat that ran to its end and has a value in both goals, as ``FrontPoint``; ``trial`` is its id.

    ``on_front`` when no other of its level beats it in both goals (of equals the first is), ``feasible`` when it is close enough to
    its level's best in the task's goal to be chosen for the second, ``chosen`` when its point went to the finals.
    """

    trial: str
    level: Mapping[str, Scalar]
    point: Mapping[str, Scalar]
    value: float
    second: float
    on_front: bool
    feasible: bool
    chosen: bool


def attempts(question: Question, records: Sequence[TrialRecord]) -> list[Attempt]:
    """The heats of all levels in the question's order, each level's from the best in the task's goal to the worst.

    Completed heats alone count: a stopped one is cheap because it was stopped. Empty without a second goal.
    """
    second = second_goal(question)
    if second is None:
        return []
    return [attempt for level in question.levels for attempt in _of_level(question, second, level, records)]


def within(question: Question) -> float:
    """How much worse than the best, in the task's goal, a heat may be to be chosen for the second goal."""
    return float((question.raw.get("also") or {}).get("within") or 0.0)


def _of_level(
    question: Question, second: Goal, level: Mapping[str, Scalar], records: Sequence[TrialRecord]
) -> Iterator[Attempt]:
    goal = question.goal
    own = [record for record in records if dict(record.level) == level]
    finals = [record.point for record in own if record.stage is Stage.FINAL]
    heats = [record for record in own if record.stage is Stage.HEAT and record.status is Status.COMPLETED]
    scored = [(value, record) for record in heats if (value := reached(record, goal.metric)) is not None]
    # A billionth of slack: 0.975 - 0.97 is a little more than 0.005.
    reach = max((goal.sign * value for value, _ in scored), default=0.0) - within(question) * (1 + 1e-9)
    known = [(value, price, r) for value, r in scored if (price := reached(r, second.metric)) is not None]
    best: float | None = None
    for value, price, record in sorted(known, key=lambda one: (-goal.sign * one[0], -second.sign * one[1])):
        leads = best is None or second.better(price, best)
        best = price if leads else best
        yield Attempt(
            trial=record.id,
            level=level,
            point=record.point,
            value=value,
            second=price,
            on_front=leads,
            feasible=goal.sign * value >= reach,
            chosen=record.point in finals,
        )


def front(question: Question, records: Sequence[TrialRecord]) -> list[FrontPoint]:
    """The fronts of all levels in the question's order, each from the best in the task's goal to the best in the second.

    Of equals the first is taken. Empty without a second goal.
    """
    return [
        FrontPoint(level=one.level, point=one.point, value=one.value, second=one.second, chosen=one.chosen)
        for one in attempts(question, records)
        if one.on_front
    ]


def trade(goal: Goal, second: Goal, points: Sequence[FrontPoint]) -> list[str]:
    """What a level's point gave up for what, as a clause about "its point"; none where the front does not hold what was chosen."""
    if not points:
        return [f"no heat that ran to its end has a value for {units.name(second.metric)}, so that goal chose nothing"]
    chosen = next((point for point in points if point.chosen), None)
    if chosen is None:
        return []
    best, name = points[0], units.name(goal.metric)
    if chosen is best:
        return [f"its point has the best validation {name} of its heats, at {written(best.second, second)}"]
    taken, given = (units.value(point.value, goal.metric) for point in (chosen, best))
    return [
        f"its point was chosen for its {units.name(second.metric)}: {taken} validation {name} at "
        f"{written(chosen.second, second)}, where the best heat has {given} at {written(best.second, second)}"
    ]


def written(x: float, goal: Goal) -> str:
    """A value of the second goal with its unit."""
    if goal.metric.endswith("seconds"):
        return units.seconds(x)
    if goal.metric.endswith("bytes"):
        return units.size(x)
    return units.value(x, goal.metric)
