"""Ledger lines: what is written is read back."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.records import Cost, Stage, Status, TrialRecord
from tests.planted import planted_record

number = st.floats(allow_nan=False, allow_infinity=False)
scalar = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | number | st.text(max_size=20)
mapping = st.dictionaries(st.text(min_size=1, max_size=12), scalar, max_size=4)
row = st.dictionaries(st.sampled_from(["epoch", "step", "seconds", "val/accuracy"]), st.none() | number, max_size=4)

records = st.builds(
    TrialRecord,
    id=st.text(min_size=1),
    sweep=st.text(),
    task=st.text(),
    stage=st.sampled_from(Stage),
    level=mapping,
    point=mapping,
    seed=st.integers(0, 2**31),
    status=st.sampled_from(Status),
    reason=st.none() | st.text(),
    epochs=st.integers(0, 1000),
    metrics=st.dictionaries(st.text(), number, max_size=3),
    best_epoch=st.none() | st.integers(1, 1000),
    history=st.lists(row, max_size=3),
    cost=st.builds(Cost, seconds=st.none() | number, peak_bytes=st.none() | st.integers(0, 2**60)),
    lane=st.none() | st.text(),
    error=st.none() | st.text(),
    started=st.none() | number,
)


def minimal() -> dict[str, Any]:
    """A line with nothing but what is required."""
    return {
        "id": "a",
        "sweep": "s",
        "task": "t",
        "stage": "final",
        "level": {},
        "point": {},
        "seed": 1,
        "status": "running",
    }


@given(record=records)
def test_a_record_survives_its_line(record: TrialRecord) -> None:
    assert TrialRecord.from_json(json.loads(json.dumps(record.to_json()))) == record


@given(record=records, extra=st.dictionaries(st.text().map("new_{}".format), scalar, min_size=1, max_size=3))
def test_unknown_keys_are_ignored(record: TrialRecord, extra: dict[str, object]) -> None:
    line = record.to_json()
    line["cost"] |= {"carbon": 1.0}
    assert TrialRecord.from_json({**line, **extra}) == record


def test_a_line_is_plain_json_without_nan() -> None:
    record = planted_record(level=64, stage=Stage.FINAL, seed=1, number=0, score=math.nan)
    text = json.dumps(record.to_json(), allow_nan=False)
    line = json.loads(text)
    assert line["metrics"]["test/accuracy"] is None
    assert line["history"][-1]["val/accuracy"] is None
    assert line["stage"] == "final"
    assert line["status"] == "completed"


def test_what_is_not_there_is_unknown_and_never_zero() -> None:
    record = TrialRecord.from_json(minimal())
    assert record.cost == Cost(seconds=None, cpu_seconds=None, gpu_seconds=None, joules=None, peak_bytes=None)
    assert record.to_json()["cost"]["seconds"] is None
    assert TrialRecord.from_json({**minimal(), "cost": None}).cost == Cost()


@pytest.mark.parametrize("key", sorted(minimal()))
def test_a_line_without_a_required_key_is_refused_by_name(key: str) -> None:
    line = minimal()
    del line[key]
    with pytest.raises(KeyError, match=key):
        TrialRecord.from_json(line)


@pytest.mark.parametrize("wrong", [{"stage": "warm-up"}, {"status": "asleep"}])
def test_an_unknown_stage_or_status_is_refused(wrong: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong.values()))):
        TrialRecord.from_json({**minimal(), **wrong})


def test_lost_and_settled_leave_only_running_between_them() -> None:
    assert {status for status in Status if status.lost} == {Status.FAILED, Status.OUT_OF_MEMORY}
    assert {status for status in Status if not status.lost and not status.settled} == {Status.RUNNING}
    assert not any(status.lost and status.settled for status in Status)
