"""Which level a trial belongs to, by the label that the verdict gives it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from analysis.ledger import Question
from analysis.records import Scalar, TrialRecord
from analysis.verdict import Verdict


@dataclass(frozen=True, kw_only=True, slots=True)
class Labels:
    """The levels in the order in which the sweep names them, which gives each its colour on the whole page."""

    known: Mapping[str, str]
    order: Sequence[str]

    @classmethod
    def of(cls, question: Question, records: Sequence[TrialRecord], verdict: Verdict) -> Self:
        """Labels from the verdict; a level that the verdict does not know is named by its values."""
        known = {_key(level.level): level.label for level in verdict.levels}
        for record in records:
            known.setdefault(_key(record.level), _plain(record.level))
        first = {_key(record.level): place for place, record in reversed(list(enumerate(records)))}
        places = {path: {_key({"": v}): i for i, v in enumerate(levels)} for path, levels in question.factors.items()}
        levels = {_key(level.level): level.level for level in verdict.levels}
        levels |= {_key(record.level): record.level for record in records}

        def rank(key: str) -> tuple[tuple[int, ...], int]:
            by_factor = tuple(
                place.get(_key({"": levels[key].get(path)}), len(place)) for path, place in places.items()
            )
            return by_factor, first.get(key, 0)

        return cls(known=known, order=[known[key] for key in sorted(known, key=rank)])

    def label(self, level: Mapping[str, Scalar]) -> str:
        """The label of a level."""
        return self.known.get(_key(level)) or _plain(level)

    def place(self, label: str) -> int:
        """The place of a label in the order, -1 for one that is not there."""
        return list(self.order).index(label) if label in self.order else -1

    def grouped(self, records: Sequence[TrialRecord]) -> dict[str, list[TrialRecord]]:
        """The records by label, in the order of the levels."""
        groups: dict[str, list[TrialRecord]] = {label: [] for label in self.order}
        for record in records:
            groups.setdefault(self.label(record.level), []).append(record)
        return {label: group for label, group in groups.items() if group}


def _key(level: Mapping[str, Scalar]) -> str:
    return json.dumps(dict(level), sort_keys=True, default=str)


def _plain(level: Mapping[str, Scalar]) -> str:
    return ", ".join(str(value) or "''" for value in level.values()) or "all"
