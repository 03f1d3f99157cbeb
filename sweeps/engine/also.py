"""A second goal."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from analysis.front import COSTS, reached
from analysis.records import TrialRecord
from trainables import Maximise, Minimise, Task


@dataclass(frozen=True, kw_only=True, slots=True)
class Also:
    """What is wanted beside the task's goal: ``Also(goal=Minimise("cpu_seconds"), within=0.005)``.

    ``goal`` names a metric of the task, taken on validation at the epoch that the task's goal chooses, or a cost of the run:
    seconds, cpu_seconds, gpu_seconds, peak_bytes. Seconds depend on what else runs; those of a GPU, and what it holds, are known
    only where there is one.

    The search looks for points that are best in one goal for what they are in the other. To the finals goes the one that is best
    in this goal among those at most ``within`` worse in the task's, in its own unit: with 0 it settles ties alone. The verdict is
    on the task's goal. A heat that was stopped early counts as a bad one.
    """

    goal: Maximise | Minimise
    within: float = 0.0

    RULES: ClassVar[Mapping[str, str]] = {
        "goal": 'is {kind}, not a goal; write it as one, such as goal=Minimise("cpu_seconds")',
    }

    def value(self, record: TrialRecord) -> float | None:
        """What a run reached in this goal; None when it is not known or not finite."""
        return reached(record, self.goal.metric)

    def to_json(self) -> dict[str, Any]:
        """As ``sweep.json`` holds it."""
        return {"metric": self.goal.metric, "mode": self.goal.mode, "within": self.within}

    def conflicts(self, task: Task, gpus: float | None) -> Iterator[str]:
        """What is wrong with the second goal beside this task's, where a worker has so many GPUs."""
        known = sorted({"loss", *task.metrics})
        if self.goal.metric not in (*known, *COSTS):
            yield (
                f"also names {self.goal.metric!r}, which is no metric of the task ({', '.join(known)}) "
                f"and no cost ({', '.join(COSTS)}); name one of them"
            )
        elif self.goal.metric == task.goal.metric:
            yield f"also names {self.goal.metric!r}, which is the task's goal already; name another, or take also out"
        elif gpus == 0 and self.goal.metric in ("gpu_seconds", "peak_bytes"):
            yield f"also names {self.goal.metric!r}, which nothing is known of with resources.gpus 0; take cpu_seconds, or a GPU"
        if not (math.isfinite(self.within) and self.within >= 0):
            yield f"also.within {self.within:g} must be a finite number from 0, in the unit of {task.goal.metric}"


def best(records: Iterable[TrialRecord], goal: Maximise | Minimise, also: Also | None = None) -> TrialRecord | None:
    """The run whose point goes to the finals; None when none has a value.

    Ties go to the one dealt first, so that a continued sweep sends the same point.
    """
    sign = -1.0 if goal.mode == "max" else 1.0
    ranked = [
        (sign * value, record.number or 0, record)
        for record in records
        if (value := record.metrics.get(f"val/{goal.metric}")) is not None and math.isfinite(value)
    ]
    if not ranked:
        return None
    if also is not None:
        # A billionth of slack: 0.975 - 0.97 is a little more than 0.005.
        reach = min(value for value, _, _ in ranked) + also.within * (1 + 1e-9)
        second = -1.0 if also.goal.mode == "max" else 1.0
        close = [(also.value(record), value, number, record) for value, number, record in ranked if value <= reach]
        known = [(second * cost, value, number, record) for cost, value, number, record in close if cost is not None]
        if known:
            return min(known, key=lambda entry: entry[:3])[3]
    return min(ranked, key=lambda entry: entry[:2])[2]
