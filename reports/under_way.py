"""The epochs of trials under way, which the ledger does not hold yet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from analysis.ledger import read_live
from analysis.records import Status, TrialRecord


def with_live_epochs(folder: Path, records: Sequence[TrialRecord]) -> list[TrialRecord]:
    """The records, those that are running with the epochs that ``live.jsonl`` tells of them, if it can be read."""
    try:
        told = read_live(folder)
    except OSError:
        return list(records)
    return [_filled(record, told.get(record.id, [])) for record in records]


def _filled(record: TrialRecord, rows: Sequence[Mapping[str, Any]]) -> TrialRecord:
    if record.status is not Status.RUNNING or not rows:
        return record
    return replace(record, history=rows, epochs=int(rows[-1]["epoch"]))
