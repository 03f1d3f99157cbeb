"""Reading a sweep's folder: which line counts, what a crash leaves, what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.ledger import FolderError, Goal, read_ledger, read_question
from analysis.records import Stage, Status, TrialRecord
from tests.planted import planted_folder, planted_question, planted_record, planted_records


@pytest.fixture
def records() -> list[TrialRecord]:
    return planted_records({16: [0.9, 0.91], 32: [0.92, 0.93]}, heats=1)


def test_a_planted_folder_is_read_back(tmp_path: Path, records: list[TrialRecord]) -> None:
    folder = planted_folder(tmp_path / "planted", records, planted_question([16, 32], seeds=2))
    assert read_ledger(folder) == records
    question = read_question(folder)
    assert question.sweep == "planted"
    assert question.goal == Goal(metric="accuracy", mode="max", target=0.9)
    assert question.factors == {"batch_size": (16, 32)}
    assert question.seeds == 2
    assert question.varied == ("init", "order", "split")
    assert question.raw["command"] == "python sweeps/planted.py"


def test_an_absent_ledger_is_an_empty_one(tmp_path: Path) -> None:
    assert read_ledger(tmp_path) == []
    (tmp_path / "trials.jsonl").write_bytes(b"")
    assert read_ledger(tmp_path) == []


def test_the_last_line_of_an_id_counts_in_the_order_of_the_first(tmp_path: Path, records: list[TrialRecord]) -> None:
    running = [replace(record, status=Status.RUNNING, metrics={}, history=()) for record in records]
    folder = planted_folder(tmp_path, [*running, *reversed(records)], planted_question([16, 32], seeds=2))
    assert read_ledger(folder) == records


@given(cut=st.integers(1, 10_000))
@settings(max_examples=40, deadline=None)
def test_a_torn_last_line_is_ignored_wherever_it_tears(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    folder = tmp_path_factory.mktemp("torn")
    first, last = (planted_record(level=8, stage=Stage.FINAL, seed=s, number=s, score=0.9, epochs=1) for s in (1, 2))
    whole, torn = (json.dumps(record.to_json()).encode() for record in (first, last))
    (folder / "trials.jsonl").write_bytes(whole + b"\n" + torn[: min(cut, len(torn) - 1)])
    assert read_ledger(folder) == [first]


def test_a_last_line_torn_inside_a_character_is_ignored(tmp_path: Path) -> None:
    record = planted_record(level=8, stage=Stage.FINAL, seed=1, number=1, score=0.9, epochs=1)
    line = json.dumps(record.to_json()).encode()
    (tmp_path / "trials.jsonl").write_bytes(line + b'\n{"id": "\xe2\x82')
    assert read_ledger(tmp_path) == [record]


def test_a_whole_last_line_without_its_newline_counts(tmp_path: Path, records: list[TrialRecord]) -> None:
    text = "\n".join(json.dumps(record.to_json()) for record in records)
    (tmp_path / "trials.jsonl").write_text(text)
    assert read_ledger(tmp_path) == records


@pytest.mark.parametrize("damage", ['{"id": "x"', "[]", '{"id": "x"}', "null", '{"status": "asleep"}', "\x00\x00"])
def test_a_damaged_line_before_the_last_is_refused_with_its_number(
    tmp_path: Path, records: list[TrialRecord], damage: str
) -> None:
    lines = [json.dumps(record.to_json()) for record in records]
    lines.insert(1, damage)
    (tmp_path / "trials.jsonl").write_text("".join(line + "\n" for line in lines))
    with pytest.raises(FolderError, match=r"line 2 is damaged.*take that line out"):
        read_ledger(tmp_path)


def test_blank_lines_do_not_matter(tmp_path: Path, records: list[TrialRecord]) -> None:
    lines = [json.dumps(record.to_json()) for record in records]
    (tmp_path / "trials.jsonl").write_text("\n" + "\n\n".join(lines) + "\n  \n")
    assert read_ledger(tmp_path) == records


def test_a_folder_without_a_question_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FolderError, match=r"no sweep\.json"):
        read_question(tmp_path)


@pytest.mark.parametrize("key", ["sweep", "task", "goal", "factors", "seeds", "vary"])
def test_a_question_that_lacks_something_is_refused_by_name(tmp_path: Path, key: str) -> None:
    raw: dict[str, Any] = planted_question([1, 2], seeds=8)
    del raw[key]
    (tmp_path / "sweep.json").write_text(json.dumps(raw))
    with pytest.raises(FolderError, match=key):
        read_question(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", "7", '{"goal": 3}'])
def test_what_is_no_question_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "sweep.json").write_text(text)
    with pytest.raises(FolderError, match=r"sweep\.json"):
        read_question(tmp_path)


def test_better_and_reached_follow_the_goals_direction() -> None:
    most, least = Goal(metric="accuracy", mode="max", target=0.9), Goal(metric="loss", mode="min", target=0.1)
    assert most.better(0.95, 0.9)
    assert not most.better(0.9, 0.9)
    assert not most.better(float("nan"), 0.9)
    assert most.reached(0.9)
    assert not most.reached(0.89)
    assert least.better(0.1, 0.2)
    assert least.reached(0.1)
    assert not least.reached(0.11)
    assert not Goal(metric="loss", mode="min").reached(0.0)
