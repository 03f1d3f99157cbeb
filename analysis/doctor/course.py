"""The course of a run as numbers: what its history holds by epoch, ready for statistics."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from analysis.ledger import Goal, Question
from analysis.records import Row, Scalar, Status, TrialRecord

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Series:
    """The epochs in which something was measured, and what: only finite values, in the order of the epochs."""

    epochs: Sequence[int]
    values: Array

    @classmethod
    def of(cls, rows: Sequence[Row], name: str) -> Self:
        """What the rows, which all know their epoch, hold under a name."""
        pairs = [(int(row["epoch"]), float(row[name])) for row in rows if _finite(row.get(name))]
        return cls(epochs=[epoch for epoch, _ in pairs], values=np.array([one for _, one in pairs], dtype=np.float64))

    def __len__(self) -> int:
        return len(self.epochs)

    def last(self, part: int = 3) -> Array:
        """The last values: a third of them, or another part, at least one."""
        return self.values[-max(1, len(self) // part) :]

    def until(self, epoch: int) -> Array:
        """The values up to an epoch."""
        return self.values[: sum(one <= epoch for one in self.epochs)]

    def after(self, epoch: int) -> Array:
        """The values after an epoch."""
        return self.values[sum(one <= epoch for one in self.epochs) :]


@dataclass(frozen=True, kw_only=True, slots=True)
class Course:
    """One run: losses, the goal's metric (more is better), the norm of the gradients, each as far as it was measured."""

    id: str
    seed: int
    rows: Sequence[Row]
    train: Series
    val: Series
    goal: Series
    norm: Series

    @classmethod
    def of(cls, record: TrialRecord, goal: Goal) -> Self:
        """The course of a trial."""
        rows = [row for row in record.history if _finite(row.get("epoch"))]
        measured = Series.of(rows, f"val/{goal.metric}")
        return cls(
            id=record.id,
            seed=record.seed,
            rows=rows,
            train=Series.of(rows, "train/loss"),
            val=Series.of(rows, "val/loss"),
            goal=Series(epochs=measured.epochs, values=goal.sign * measured.values),
            norm=Series.of(rows, "train/grad_norm"),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Group:
    """The finals of one level at its tuned point: ``courses`` of those that came to an end, ``diverged`` those that diverged.

    ``settings`` are the recipe's by path, with the point's in them; ``spaces`` what was searched, in words, by path. ``scores`` are
    test values, ``waits`` shares of the time in which a run waited for its input, both by id.
    """

    question: Question
    label: str
    settings: Mapping[str, Scalar]
    spaces: Mapping[str, str]
    courses: Sequence[Course]
    diverged: Sequence[TrialRecord]
    scores: Mapping[str, float]
    waits: Mapping[str, float]

    @property
    def size(self) -> int:
        """How many finals gave an answer."""
        return len(self.courses) + len(self.diverged)


def ended(record: TrialRecord) -> bool:
    """True for a run that came to its end."""
    return record.status is Status.COMPLETED


def middle(values: Array) -> float:
    """The median; of a few dozen values many times as quick as numpy's."""
    return float(median(values.tolist()))


def _finite(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)
