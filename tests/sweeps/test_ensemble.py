"""The ensemble command on sweeps that were run here."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from sweeps import Sweep
from sweeps.engine import question
from sweeps.engine.drive import drive
from sweeps.engine.machine import Machine
from sweeps.engine.members import unseen
from sweeps.ensemble import main
from trainables import Splits
from trainables.tasks import digits

SCRIPT = """
from sweeps import Sweep, each
from trainables import FP64, AdamW, Recipe
from trainables.models import MLP
from trainables.tasks import digits

recipe = Recipe(model=MLP(widths=(16,)), batch_size=each(64, 256), optimizer=AdamW(lr=1e-2), epochs={epochs}, precision=FP64())
sweep = Sweep(name="together", task=digits, recipe=recipe, seeds={seeds}, vary={vary})
"""


def written(folder: Path, *, epochs: int = 2, seeds: int = 3, vary: Sequence[str] = ("init", "order")) -> Path:
    script = folder / "together.py"
    script.write_text(SCRIPT.format(epochs=epochs, seeds=seeds, vary=tuple(vary)))
    return script


def declared(script: Path) -> Sweep:
    names: dict[str, Sweep] = {}
    exec(compile(script.read_text(), str(script), "exec"), names)
    return names["sweep"]


def swept(folder: Path, **changes: object) -> Path:
    """A finished sweep below ``folder``; its script comes back."""
    script = written(folder, **changes)  # type: ignore[arg-type]
    sweep, place = declared(script), folder / "runs" / "together"
    place.mkdir(parents=True)
    machine = Machine.here(None)
    question.store(place, question.described(sweep, machine))
    drive(sweep, place, lane="local", concurrency=1, machine=machine, followers=[])
    return script


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep whose finals share their split."""
    return swept(tmp_path_factory.mktemp("shared"))


@pytest.fixture(scope="module")
def apart(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep whose finals drew a split each."""
    return swept(tmp_path_factory.mktemp("apart"), vary=("init", "order", "split"))


def asked(script: Path, *options: str) -> int:
    return main([str(script), "--runs", str(script.parent / "runs"), *options])


def refused(script: Path, capsys: pytest.CaptureFixture[str], *options: str) -> str:
    assert asked(script, *options) == 2
    said = capsys.readouterr()
    assert said.err.startswith("error: ")
    assert "Traceback" not in said.err
    return " ".join(said.err.split())


def test_the_winning_level_s_finals_answer_together(script: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert asked(script) == 0
    said = capsys.readouterr().out
    folder = script.parent / "runs" / "together"
    numbers = json.loads((folder / "ensemble.json").read_text())
    ledger = [json.loads(line) for line in (folder / "trials.jsonl").read_text().splitlines()]
    finals = [line for line in ledger if line["status"] == "completed" and line["level"] == {"batch_size": 64}]
    assert numbers["level"] == "64"
    assert [each["accuracy"] for each in numbers["members"]] == pytest.approx(
        [line["metrics"]["test/accuracy"] for line in sorted(finals, key=lambda line: line["seed"])], rel=1e-9
    )
    assert [each["nll"] for each in numbers["members"]] == pytest.approx(
        [line["metrics"]["test/loss"] for line in sorted(finals, key=lambda line: line["seed"])], rel=1e-9
    )
    assert numbers["samples"] == 359
    assert numbers["left_out"] == 0
    assert "3 members of 64 reach" in said
    assert f"{100 * numbers['ensemble']['accuracy']:.1f} % [" in said
    assert (
        f"ECE {numbers['ensemble']['calibration_error']:.3f} against {numbers['mean']['calibration_error']:.3f}" in said
    )
    assert (
        f"{numbers['scaled']['calibration_error']:.3f} when scaled by the temperature {numbers['temperature']:.2f}"
        in said
    )
    assert (folder / "reliability.png").read_bytes()[:4] == b"\x89PNG"


def test_the_best_on_validation_of_a_named_level(script: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert asked(script, "--level", "256", "--top", "2") == 0
    folder = script.parent / "runs" / "together"
    numbers = json.loads((folder / "ensemble.json").read_text())
    ledger = [json.loads(line) for line in (folder / "trials.jsonl").read_text().splitlines()]
    finals = [line for line in ledger if line["status"] == "completed" and line["level"] == {"batch_size": 256}]
    best = sorted(finals, key=lambda line: -line["metrics"]["val/accuracy"])[:2]
    assert sorted(each["nll"] for each in numbers["members"]) == pytest.approx(
        sorted(line["metrics"]["test/loss"] for line in best), rel=1e-9
    )
    assert "2 members of 256" in capsys.readouterr().out


def test_finals_of_different_splits_are_refused_and_the_way_out_works(
    apart: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = refused(apart, capsys)
    assert "different splits" in said
    assert "--train 3" in said
    assert 'vary=("init", "order")' in said
    assert asked(apart, "--train", "3") == 0
    assert "3 members of 64 reach" in capsys.readouterr().out
    folder = apart.parent / "runs" / "together"
    numbers = (folder / "ensemble.json").read_text()
    weights = {path: path.stat().st_mtime_ns for path in folder.glob("ensemble/*/best.safetensors")}
    assert len(weights) == 3
    assert asked(apart, "--train", "3") == 0
    assert (folder / "ensemble.json").read_text() == numbers
    assert {path: path.stat().st_mtime_ns for path in weights} == weights


def test_samples_that_some_member_has_seen_are_left_out() -> None:
    """By content: a test set that all share is kept whole, one that is drawn anew only where nobody learned from it."""
    first, second = digits.load(1), digits.load(2)
    kept = unseen([first, second])
    rows = {tuple(row) for row in first.test[0].tolist()}
    learned = {tuple(row) for part in (second.train[0], second.val[0]) for row in part.tolist()}
    expected = [place for place, row in enumerate(first.test[0].tolist()) if tuple(row) not in learned]
    assert 0 < len(kept) < len(rows)
    assert kept.tolist() == expected
    fixed = Splits(train=second.train, val=second.val, test=first.test)
    beside = Splits(train=first.train, val=first.val, test=first.test)
    assert len(unseen([beside, Splits(train=first.val, val=first.train, test=first.test)])) == len(first.test[1])
    assert unseen([beside, fixed]).tolist() == expected
    assert unseen([first]).tolist() == torch.arange(len(first.test[1])).tolist()


def test_wrong_questions_are_said(script: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "there is no such level; the sweep compares 64, 256" in refused(script, capsys, "--level", "7")
    assert "give the options that it was run with" in refused(script, capsys, "--epochs", "1")
    assert "--fresh and --dry-run" in refused(script, capsys, "--fresh")
    assert main([str(script), "--runs", str(tmp_path)]) == 2
    assert f"Run `python {script} --runs {tmp_path}` first" in capsys.readouterr().err
    assert main([str(tmp_path / "none.py")]) == 2
    assert "is not a file" in capsys.readouterr().err
    broken = tmp_path / "broken.py"
    broken.write_text("1 / 0\n")
    assert main([str(broken)]) == 2
    assert "raises ZeroDivisionError" in capsys.readouterr().err
    broken.write_text("sweep = None\n")
    assert main([str(broken)]) == 2
    assert "declares 0 sweeps" in capsys.readouterr().err
    for options in (["--top", "1"], ["--train", "x"], ["--top", "2", "--train", "2"]):
        with pytest.raises(SystemExit) as ended:
            asked(script, *options)
        assert ended.value.code == 2
    assert "--help lists the options" in capsys.readouterr().err


def test_a_folder_that_is_not_there_is_not_recommended_but_those_that_are_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("REGATTA_RUNS", raising=False)
    monkeypatch.chdir(tmp_path)
    script = written(tmp_path)
    assert main([str(script)]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"error: runs/together holds no sweep. Run `python {script}` first, or name")
    assert said.count("runs/together") == 1
    quick = tmp_path / "runs" / "together-quick"
    quick.mkdir(parents=True)
    (quick / "sweep.json").write_text("{}")
    assert main([str(script)]) == 2
    assert "runs/together holds no sweep; what there is: runs/together-quick. Run" in capsys.readouterr().err
    assert main([str(script), "--quick"]) == 2
    assert "runs/together-quick/sweep.json is not a sweep's question" in capsys.readouterr().err


def test_missing_weights_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    script = swept(tmp_path, epochs=1, seeds=2)
    lost = next((tmp_path / "runs" / "together" / "checkpoints").glob("*/best.safetensors"))
    assert asked(script, "--level", "64") == 0
    for path in (tmp_path / "runs" / "together" / "checkpoints").glob("*/best.safetensors"):
        path.unlink()
    assert f"{lost.name} does not exist" in refused(script, capsys)


def test_one_final_is_no_ensemble(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "an ensemble needs two" in refused(swept(tmp_path, epochs=1, seeds=1), capsys)
