"""Fewer points and fewer curves where a page would drown in them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from analysis.ledger import Goal
from analysis.records import TrialRecord

POINTS = 50
"""At most so many points on a curve."""
TOP, RANDOM = 30, 60
"""At most so many curves: the best, and some of the others drawn at random."""

T = TypeVar("T")


def thin(items: Sequence[T], most: int = POINTS) -> list[T]:
    """At most ``most`` of the items, evenly spread, first and last among them."""
    if len(items) <= most:
        return list(items)
    places = np.unique(np.linspace(0, len(items) - 1, most).round().astype(int))
    return [items[int(place)] for place in places]


def score(record: TrialRecord, goal: Goal) -> float | None:
    """The goal's metric on validation at the chosen epoch; None when there is none, or it is not finite."""
    value = record.metrics.get(f"val/{goal.metric}")
    return float(value) if isinstance(value, int | float) and np.isfinite(value) else None


def ranked(records: Sequence[TrialRecord], goal: Goal) -> list[TrialRecord]:
    """Best first on validation; those without a score last, in their order."""

    def key(record: TrialRecord) -> float:
        value = score(record, goal)
        return float("inf") if value is None else -goal.sign * value

    return sorted(records, key=key)


def chosen(records: Sequence[TrialRecord], goal: Goal) -> list[TrialRecord]:
    """The trials whose curves are drawn: all up to 90, else the best 30 and 60 of the others at random, always the same."""
    if len(records) <= TOP + RANDOM:
        return list(records)
    order = ranked(records, goal)
    drawn = np.random.default_rng(0).choice(len(order) - TOP, size=RANDOM, replace=False)
    return [*order[:TOP], *(order[TOP + int(place)] for place in np.sort(drawn))]
