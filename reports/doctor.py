"""The page's section on what the doctor sees: findings with their evidence, one change to try, and links to the trials."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from analysis.doctor import Disease, examine
from analysis.doctor.cost import waits
from analysis.ledger import Question
from analysis.records import TrialRecord
from reports.labels import Labels
from reports.palette import swatch

LINKED = 8
"""Trials of a finding that are linked; the others are counted."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Seen:
    """One finding in words; ``label`` is empty where it is the whole sweep's, ``more`` trials are not named."""

    disease: str
    label: str
    swatch: str
    evidence: str
    change: str
    trials: Sequence[str]
    more: int


def section(question: Question, records: Sequence[TrialRecord], labels: Labels, folder: str | None) -> list[Seen]:
    """A row for each finding, the weightiest first; empty where nothing is wrong. Ends of ranges stand with the levels already."""
    found = examine(question, records, waits=waits(Path(folder)) if folder is not None else None)
    return [
        Seen(
            disease=one.disease.value,
            label=one.level or "",
            swatch=swatch(labels.place(one.level)) if one.level is not None else "",
            evidence=one.evidence,
            change=one.change,
            trials=one.trials[:LINKED],
            more=max(0, len(one.trials) - LINKED),
        )
        for one in found
        if one.disease is not Disease.EDGE
    ]
