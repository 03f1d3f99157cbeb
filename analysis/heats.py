"""The heats of a sweep where no final has followed them: how they ended is then the answer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from textwrap import shorten

from analysis import units
from analysis.ledger import Question
from analysis.records import Stage, Status, TrialRecord

ENDED = {Status.FAILED: "failed", Status.OUT_OF_MEMORY: "ran out of memory", Status.DIVERGED: "diverged"}
"""How a heat ends that gives no point for finals."""

REASON = 200
"""Characters of a reason; the page has the whole of it beside its trial."""


def without_finals(question: Question, records: Sequence[TrialRecord]) -> str:
    """What is said where no final has ended; with "yet" while one may still come."""
    if "cut_short" not in question.raw:  # a command says that as it ends
        return "No final has finished yet"
    heats = [record for record in records if record.stage is Stage.HEAT]
    ended = Counter(record.status for record in heats)
    if not heats or ended.keys() - ENDED.keys():
        return "No final has finished"
    if len(ended) == 1:
        which = {1: "the only heat", 2: "both heats"}.get(len(heats), f"all {units.count(len(heats))} heats")
        how = f"{which} {ENDED[heats[0].status]}"
    else:
        *most, last = [f"{units.count(ended[status])} {verb}" for status, verb in ENDED.items() if ended[status]]
        how = f"of {units.count(len(heats))} heats {', '.join(most)} and {last}"
    return f"No answer: {how}{_reason(heats)}"


def _reason(heats: Sequence[TrialRecord]) -> str:
    """The reason that most of those have that were lost."""
    reasons = Counter(record.reason for record in heats if record.status.lost and record.reason)
    if not reasons:
        return ""
    [(reason, count)] = reasons.most_common(1)
    said = "the reason" if len(reasons) == 1 else "most often" if count > 1 else "among the reasons"
    return f"; {said}: {shorten(reason, REASON, placeholder=' …').rstrip('.')}"
