"""The sweep's folder: made, held, and gone again where nothing was written; extended by what it holds."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from analysis.records import Stage
from sweeps import ASHA, PBT, TPE, QuestionError, Resources, Rivals, each, log_uniform
from sweeps import options as command_line
from sweeps.engine import question
from sweeps.main import main
from tests.planted import planted_record
from tests.sweeps.small import small, task
from trainables import SGD, Recipe


class Net:
    """A model of one's own; without settings its class is easily taken for it."""

    def build(self) -> None:
        return None


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
        ({"early_stop": ASHA}, "early_stop is the class ASHA, which has no settings yet; write early_stop=ASHA()"),
        ({"search": TPE}, "search is the class TPE, which has no settings yet; write search=TPE()"),
        ({"task": "digits"}, "task 'digits' is a str; give it a Task, such as task=trainables.tasks.digits"),
        ({"recipe": None}, "recipe None is a NoneType; give it a Recipe, such as recipe=Recipe(model=MLP())"),
        ({"seeds": 12.5}, "seeds 12.5 must be a whole number from 1; write seeds=8"),
        ({"seeds": "12"}, "seeds '12' must be a whole number from 1; write seeds=8"),
        ({"seeds": True}, "seeds True must be a whole number from 1; write seeds=8"),
        ({"seeds": each(6, 8)}, "seeds is each(6, 8); it is the same for all levels: give one value"),
        ({"seed": "a"}, "seed 'a' must be a whole number; write seed=0"),
        ({"timed": 1.5}, "timed 1.5 must be a whole number of finals from 0; None takes 8 where there is a target"),
        ({"log_every": 2.5}, "log_every 2.5 must be a whole number of steps from 1; None switches it off"),
        ({"name": 3}, 'name 3 must be a text that is usable as a folder\'s name, such as name="mine"'),
        (
            {"budget_seconds": "10m"},
            "budget_seconds '10m' must be a number of seconds above 0, such as budget_seconds=600, or None",
        ),
        ({"vary": "init"}, "vary has 'init' where a tuple of names must be; write ('init',)"),
        ({"vary": 3}, "vary has 3 where a tuple of names must be; write ('init', 'order', 'split')"),
        ({"search": TPE(trials=8.5)}, "search.trials 8.5 must be a whole number; write trials=16"),  # type: ignore[arg-type]
        ({"search": Rivals(trials="4", method=TPE())}, "search.trials '4' must be a whole number; write trials=4"),  # type: ignore[arg-type]
        ({"search": "tpe"}, "search 'tpe' is a str, not a search; write it as one, such as search=TPE(trials=16)"),
        (
            {"search": ASHA()},
            "search ASHA is an ASHA, not a search; write it as one, such as search=TPE(trials=16)",
        ),
        (
            {"early_stop": 3},
            "early_stop 3 is an int, not a rule for early stopping; write it as one, such as early_stop=ASHA(grace=1)",
        ),
        (
            {"also": "seconds"},
            "also 'seconds' is a str, not a second goal; write it as one, such as also=Also(goal=Minimise(\"cpu_seconds\"))",
        ),
        ({"resources": {"cpus": 2}}, "resources {'cpus': 2} is a dict; write resources=Resources(cpus=1)"),
        ({"resources": Resources(cpus="2")}, "resources.cpus '2' must be a whole number from 1; write cpus=1"),  # type: ignore[arg-type]
        (
            {"task": replace(task, goal="f1")},  # type: ignore[arg-type]
            "task.goal 'f1' is a str, not a goal; write it as one, such as goal=Maximise(\"accuracy\")",
        ),
        (
            {"task": replace(task, metrics=len)},  # type: ignore[arg-type]
            'task.metrics len must name its functions, such as metrics={"accuracy": accuracy}',
        ),
        ({"recipe": Recipe(model=Net)}, "model is the class Net, which has no settings yet; write model=Net()"),  # type: ignore[arg-type]
        (
            {"recipe": replace(small().recipe, batch_size=each(8, "32"))},  # type: ignore[type-var]
            "batch_size '32' must be a whole number from 1; 64 is a usual start",
        ),
        (
            {"recipe": replace(small().recipe, optimizer=SGD(lr=log_uniform("1e-3", 1)))},  # type: ignore[arg-type]
            "optimizer.lr.low '1e-3' must be a number; write low=0.001",
        ),
    ],
)
def test_what_is_of_the_wrong_kind_is_refused_before_anything_is_asked_of_it(
    changes: dict[str, Any], says: str
) -> None:
    with pytest.raises(QuestionError) as refused:
        small(**changes).check()
    assert str(refused.value) == f"sweep {changes.get('name', 'small')!r} cannot be run:\n  - {says}"


def test_numbers_of_numpy_count_as_python_s_own() -> None:
    sweep = small(seeds=np.int64(6), seed=np.int64(0), search=TPE(trials=np.int64(5)), budget_seconds=np.float32(90))  # type: ignore[arg-type]
    sweep.check()
    options = command_line.read(["--seeds", "7"], program="small", description=None)
    asked = options.question(sweep)
    assert json.loads(json.dumps([asked.seed, asked.seeds, asked.trials, asked.budget_seconds])) == [0, 7, 5, 90.0]


class Sulking:
    """A model that says of itself neither what is wrong nor anything else."""

    def build(self) -> None:
        return None

    def conflicts(self) -> list[str]:
        raise AttributeError("no mood")


def test_what_raises_before_anything_is_launched_is_the_question_s_fault(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = small(recipe=replace(small().recipe, model=Sulking()))
    with pytest.raises(SystemExit) as left:
        main(sweep, ["--runs", str(tmp_path), "--lane", "local"])
    said = capsys.readouterr().err
    assert left.value.code == 2
    assert "cannot be planned; look for a setting that holds what it cannot: AttributeError: no mood" in said
    assert "at test_question.py:" in said
    assert "Traceback" not in said
    assert "What is done is kept" not in said
    assert list(tmp_path.iterdir()) == []
