"""Versions of the code that the finals of one verdict were run by."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from analysis.records import Stage, TrialRecord


def sources(records: Sequence[TrialRecord]) -> Mapping[str, int]:
    """How many finals with a result each version of the code ran, by its hash, in the order of their first; where it is known."""
    finals = [r for r in records if r.stage is Stage.FINAL and r.status.settled and not r.status.lost]
    return dict(Counter(record.source for record in finals if record.source is not None))


def mixed(counted: Mapping[str, int]) -> list[str]:
    """What is to be said where finals of several versions are judged together."""
    if len(counted) < 2:
        return []
    *most, last = [f"{number} by {source}" for source, number in counted.items()]
    return [
        f"The code was changed between the finals: {', '.join(most)} and {last} are judged together, and what differs between "
        "these versions is taken for chance. With --fresh all are run by one."
    ]
