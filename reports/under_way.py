"""The epochs of trials under way, which the ledger does not hold yet."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from analysis.records import Status, TrialRecord
from reports.curves import number


def with_live_epochs(folder: Path, records: Sequence[TrialRecord]) -> list[TrialRecord]:
    """The records, those that are running with the epochs that ``live.jsonl`` tells of them; a damaged line is left out.

    Of epochs that were trained again after an interruption those hold that were told last, and none past them.
    """
    rows: dict[str, list[Mapping[str, Any]]] = {}
    try:
        lines = (folder / "live.jsonl").read_bytes().split(b"\n")
    except OSError:
        return list(records)
    for line in lines:
        try:
            entry = json.loads(line)
            epoch = number(entry["row"].get("epoch"))
            if epoch is None:
                continue
            told = rows.setdefault(str(entry["id"]), [])
        except (ValueError, KeyError, TypeError, AttributeError):
            continue
        while told and told[-1]["epoch"] >= epoch:
            told.pop()
        told.append(entry["row"])
    return [_filled(record, rows.get(record.id, [])) for record in records]


def _filled(record: TrialRecord, rows: Sequence[Mapping[str, Any]]) -> TrialRecord:
    if record.status is not Status.RUNNING or not rows:
        return record
    return replace(record, history=rows, epochs=int(rows[-1]["epoch"]))
