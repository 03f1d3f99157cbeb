"""The sweep's folder: made, held, and gone again where nothing was written; extended by what it holds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from analysis.records import Stage
from sweeps import ASHA, PBT, TPE, QuestionError, Rivals, each
from sweeps.engine import question
from tests.planted import planted_record
from tests.sweeps.small import small


def ended(folder: Path, ending: BaseException, *, written: Path | None = None) -> None:
    """Hold a folder, write a file perhaps, and end so."""
    with question.held(folder):
        assert folder.is_dir()
        if written is not None:
            written.touch()
        raise ending


@pytest.mark.parametrize("ending", [QuestionError("refused"), KeyboardInterrupt()])
def test_a_folder_that_was_made_for_nothing_goes_again_with_its_parents(tmp_path: Path, ending: BaseException) -> None:
    with pytest.raises(type(ending)):
        ended(tmp_path / "new" / "runs" / "small", ending)
    assert list(tmp_path.iterdir()) == []


def test_what_was_there_and_what_has_been_written_stays(tmp_path: Path) -> None:
    old, written, beside = tmp_path / "old", tmp_path / "new" / "small", tmp_path / "runs" / "small"
    old.mkdir()
    for folder, file in (
        (old, None),
        (written, written / "trials.jsonl"),
        (beside, beside.parent / "mlflow.db"),
    ):
        with pytest.raises(QuestionError):
            ended(folder, QuestionError("refused"), written=file)
    assert old.is_dir()
    assert (written / "trials.jsonl").exists()
    assert [path.name for path in beside.parent.iterdir()] == ["mlflow.db"]


def test_a_folder_is_held_by_one_command(tmp_path: Path) -> None:
    folder = tmp_path / "small"
    with question.held(folder):
        with pytest.raises(QuestionError, match="another command is at work"), question.held(folder):
            pass
        assert folder.is_dir()
    with question.held(folder):
        assert question.untouched(folder)
    with pytest.raises(QuestionError, match="cannot be made"), question.held(folder / ".lock" / "inside"):
        pass


def test_numbers_of_trials_that_are_compared_are_not_extended() -> None:
    heats = [planted_record(level=8, stage=Stage.HEAT, seed=0, number=number, score=0.5) for number in range(7)]
    heats = [replace(record, id=str(number)) for number, record in enumerate(heats)]
    grown = question.extended(small(search=TPE(trials=5)), {}, heats).search
    assert grown == TPE(trials=7)
    for search in (TPE(trials=each(2, 4)), Rivals(trials=each(2, 4), method=TPE())):
        assert question.extended(small(search=search), {}, heats).search == search


def test_of_a_run_in_segments_the_first_counts() -> None:
    heats = [planted_record(level=8, stage=Stage.HEAT, seed=0, number=number, score=0.5) for number in range(9)]
    segments = [
        replace(record, id=str(n), until=3 if n < 3 else 6, parent=None if n < 3 else "0")
        for n, record in enumerate(heats)
    ]
    bred = PBT(trials=2, segments=3)
    assert question.extended(small(search=bred), {}, segments).search == replace(bred, trials=3)
    assert question.extended(small(search=TPE(trials=2)), {}, segments).search == TPE(trials=2)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"early_stop": ASHA}, "early_stop is the class ASHA, which has no settings yet; write ASHA(...)"),
        ({"search": TPE}, "search is the class TPE, which has no settings yet; write TPE(...)"),
        ({"task": "digits"}, "task 'digits' is a str; give it a Task"),
        ({"recipe": None}, "recipe None is a NoneType; give it a Recipe"),
    ],
)
def test_what_is_of_the_wrong_kind_is_refused_before_anything_is_asked_of_it(
    changes: dict[str, Any], says: str
) -> None:
    with pytest.raises(QuestionError) as refused:
        small(**changes).check()
    assert str(refused.value) == f"sweep 'small' cannot be run:\n  - {says}"
