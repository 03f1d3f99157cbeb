"""What a level sends to the finals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Self

from analysis.records import TrialRecord, Turn
from trainables.describe import Scalar


@dataclass(frozen=True, kw_only=True, slots=True)
class Winner:
    """A point, and the settings before it where they change in mid-run."""

    point: Mapping[str, Scalar]
    earlier: tuple[Turn, ...] = ()

    @classmethod
    def of(cls, record: TrialRecord) -> Self:
        """A heat's, without turns at which nothing changes."""
        turns = [*record.earlier, Turn(until=0, point=record.point)]
        changes = [turn for turn, after in pairwise(turns) if dict(turn["point"]) != dict(after["point"])]
        return cls(point=record.point, earlier=tuple(changes))
