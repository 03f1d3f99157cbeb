"""How far a sweep has come: what was planned and what is done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from analysis.ledger import Question
from analysis.records import Stage, Status, TrialRecord


@dataclass(frozen=True, kw_only=True, slots=True)
class Tally:
    """Counts over all levels; ``heats_planned`` is None where the question does not say how many."""

    heats_done: int
    heats_planned: int | None
    finals_done: int
    finals_planned: int
    running: int

    @property
    def unfinished(self) -> bool:
        """True while trials are under way or finals are missing."""
        return self.running > 0 or self.finals_done < self.finals_planned

    @property
    def sentence(self) -> str:
        """How far it is, as one sentence."""
        heats = f"{self.heats_done} heats and "
        if self.heats_planned is not None:
            heats = f"{self.heats_done} of {self.heats_planned} heats and " if self.heats_planned else ""
        under_way = f", {self.running} under way" if self.running else ""
        return f"{heats}{self.finals_done} of {self.finals_planned} finals are done{under_way}."


def tally(question: Question, records: Sequence[TrialRecord]) -> Tally:
    """Count what the ledger holds against what the question plans."""
    levels, trials, heats = len(question.levels), question.raw.get("trials"), question.raw.get("heats")
    planned = trials * levels if isinstance(trials, int) else None
    done = [record for record in records if record.status is not Status.RUNNING]
    return Tally(
        heats_done=sum(record.stage is Stage.HEAT for record in done),
        heats_planned=sum(heats) if isinstance(heats, list) else planned,
        finals_done=sum(record.stage is Stage.FINAL for record in done),
        finals_planned=question.seeds * levels,
        running=len(records) - len(done),
    )
