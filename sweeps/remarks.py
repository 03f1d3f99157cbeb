"""What a sweep says after its answer: searches that were cut short, trials that failed, and whether anything was lost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from sweeps.engine.drive import cut_short
from sweeps.engine.job import key
from sweeps.engine.spec import Sweep

if TYPE_CHECKING:
    from analysis.records import TrialRecord

FAILURES = 3
"""Reasons for failures that are named."""


def short_searches(sweep: Sweep, records: Sequence[TrialRecord]) -> list[str]:
    """Whether the budget closed the search early."""
    if not cut_short(sweep, records):
        return []
    heats = Counter(key(record.level) for record in records if record.stage == "heat" and record.status.settled)
    there, wanted = [heats[key(level)] for level in sweep.levels()], [sweep.heats(level) for level in sweep.levels()]
    fewest, most = min(there), max(there)
    each = f"{fewest if fewest == most else f'{fewest} to {most}'} of {wanted[0]} heats a level"
    run = each if len(set(wanted)) == 1 else f"{sum(there)} of {sum(wanted)} heats"
    return [f"The budget closed the search at {run}; without it the rest is run."]


def failures(records: Sequence[TrialRecord]) -> list[str]:
    """What failed and why, the most frequent reasons first."""
    reasons = Counter(record.reason or record.status.value for record in records if record.status.lost)
    lines = [
        f"{count} trial{'s' if count > 1 else ''} failed: {reason}" for reason, count in reasons.most_common(FAILURES)
    ]
    more = len(reasons) - FAILURES
    return lines + ([f"… and {more} other reasons; the page has them all"] if more > 0 else [])


def losses(sweep: Sweep, records: Sequence[TrialRecord]) -> bool:
    """True when a trial failed, or a final that was planned is not there."""
    if any(record.status.lost for record in records):
        return True
    for level in sweep.levels():
        own = [record for record in records if dict(record.level) == level and record.status.settled]
        finals = {record.seed for record in own if record.stage == "final"}
        # A level whose heats all diverged has no point to send to the finals, and that is its answer.
        hopeless = bool(own) and all(record.status == "diverged" for record in own)
        if len(finals) < sweep.seeds and not hopeless:
            return True
    return False
