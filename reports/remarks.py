"""What a reader must know beside a result: that code was changed, the search cut short, or the best may lie beyond its ranges."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from analysis.edges import edges
from analysis.ledger import Question
from analysis.records import TrialRecord
from analysis.sources import mixed
from analysis.verdict import Verdict


def remarks(question: Question, verdict: Verdict, records: Sequence[TrialRecord]) -> list[str]:
    """A sentence each, the weightier first; none where there is nothing to say."""
    found = edges(question, verdict.levels, records)
    return [
        *mixed(verdict.sources),
        *_cut(question, verdict),
        *(edge.sentence(len(question.levels)) for edge in found),
    ]


def _cut(question: Question, verdict: Verdict) -> list[str]:
    """Whether a budget closed the search before all heats were run; while no final has begun, it may still go on."""
    budget, trials = question.raw.get("budget"), question.raw.get("trials")
    seconds = budget.get("seconds") if isinstance(budget, Mapping) else None
    if seconds is None or not isinstance(trials, int) or not any(level.scores for level in verdict.levels):
        return []
    if question.raw.get("cut_short") is False:  # twins, and searches that died out, leave fewer heats than were planned
        return []
    planned = question.raw.get("heats")
    named = planned if isinstance(planned, list) and len(planned) == len(question.levels) else None
    wanted = sum(named) if named is not None else trials * len(question.levels)
    there = [level.heats for level in verdict.levels]
    if sum(there) >= wanted or (named is None and min(there) >= trials):
        return []
    if named is None or len(set(named)) == 1:
        run = f"{min(there)}" if min(there) == max(there) else f"{min(there)} to {max(there)}"
        how = f"{run} of {named[0] if named else trials} heats a level"
    else:
        how = f"{sum(there)} of {wanted} heats"
    return [f"The budget closed the search at {how}: without it the rest is run, and a level may have a better point."]
