"""The winner's recipe and the command that trains it, on sweeps that were run here."""

from __future__ import annotations

import importlib
import json
import re
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from analysis.judge import judge
from analysis.ledger import read_ledger, read_question
from analysis.verdict import Verdict
from sweeps import Sweep, winner_file
from sweeps.declared import declared
from sweeps.engine import question
from sweeps.engine.drive import drive
from sweeps.engine.machine import Machine
from sweeps.winner import main, stretched
from tests.trainables.test_checkpoints import files_up_to
from trainables import SGD, Recipe
from trainables.course import Course, Segment
from trainables.describe import plain
from trainables.keep import BEST, named
from trainables.models import MLP
from trainables.recipe_file import Stored, read, write
from trainables.train import train

SCRIPT = '''
import os
from dataclasses import dataclass

import torch

from sweeps import Random, Sweep, each, log_uniform, main
from tests.trainables.small import clusters
from trainables import FP64, SGD, Cosine, Keep, Maximise, Recipe, Task


@dataclass(frozen=True, kw_only=True, slots=True)
class Net:
    width: int = 8

    def build(self) -> torch.nn.Module:
        return torch.nn.Sequential(torch.nn.Linear(2, self.width), torch.nn.Tanh(), torch.nn.Linear(self.width, 3))


def accuracy(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """The share of points that are told right; interrupts itself where it is asked to."""
    left = int(os.environ.get("PASSES", "-1"))
    if left >= 0:
        if left == 0:
            raise KeyboardInterrupt
        os.environ["PASSES"] = str(left - 1)
    return (output.argmax(1) == target).double()


task = Task(name="own", data=clusters, metrics={"accuracy": accuracy}, goal=Maximise("accuracy"), samples=61)
sweep = Sweep(
    name="won",
    task=task,
    recipe=Recipe(
        model=Net(width=each(1, 8)),
        batch_size=16,
        optimizer=SGD(lr=log_uniform(0.05, 0.5), momentum=0.9),
        schedule=Cosine(),
        precision=FP64(),
        epochs=5,
    ),
    search=Random(trials=2),
    seeds=6,
    keep=Keep(every=4),
)

if __name__ == "__main__":
    main(sweep)
'''


BRED = (
    SCRIPT.replace("Random,", "PBT,")
    .replace("Random(trials=2)", "PBT(trials=4, segments=3)")
    .replace('name="won"', 'name="bred"')
    .replace("each(1, 8)", "8")
    .replace("epochs=5", "epochs=6")
    .replace("seeds=6", "seeds=2, seed=8")
)
"""The same bred by a population; of this seed the winner is one whose rate changes on the way."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished sweep of a script with a model of its own, and the winner's recipe beside it."""
    return swept(tmp_path_factory.mktemp("winner"), "won", SCRIPT)


@pytest.fixture(scope="module")
def bred(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished sweep by a population."""
    return swept(tmp_path_factory.mktemp("winner"), "bred", BRED)


def swept(place: Path, name: str, text: str) -> Path:
    """Run a script's sweep, and write its winner."""
    folder = ran(place, name, text)
    own: Sweep = importlib.import_module(name).sweep  # the script under its own name, by which its classes are written
    (said,) = winner_file.conclude(own, folder, verdict(folder))
    assert said == f"train the winner: python -m sweeps.winner {folder}"
    return folder


def ran(place: Path, name: str, text: str) -> Path:
    """Run a script's sweep in this process."""
    script = place / f"{name}.py"
    script.write_text(text)
    sweep, folder = declared(script), place / "runs" / name
    folder.mkdir(parents=True)
    machine = Machine.here(None)
    question.store(
        folder, question.described(sweep, machine, command=shlex.join(["python", str(script), "--lane", "local"]))
    )
    drive(sweep, folder, lane="local", concurrency=1, machine=machine, followers=[])
    return folder


def verdict(folder: Path) -> Verdict:
    return judge(read_question(folder), read_ledger(folder))


def asked(folder: Path, capsys: pytest.CaptureFixture[str], *options: str) -> tuple[dict[str, Any], str]:
    """What a command wrote, and said."""
    assert main([str(folder), *options]) == 0
    said = capsys.readouterr().out
    (place,) = re.findall(r"^numbers: (.*)$", said, re.MULTILINE)
    return json.loads(Path(place).read_text()) | {"place": Path(place).parent}, " ".join(said.split())


def test_the_file_holds_the_leading_level_at_its_tuned_point(folder: Path) -> None:
    level = winner_file.leading(verdict(folder))
    assert level is not None
    text = (folder / winner_file.NAME).read_text()
    assert text.startswith(f"# The recipe of won that leads: {level.label}, ")
    assert f"over {level.n} seeds." in text
    assert "No level is distinguishably best" not in text
    recipe = read(folder / winner_file.NAME, modules=["won"]).recipe
    assert recipe.optimizer.lr == level.point["optimizer.lr"]
    assert recipe.model.width == level.level["model.width"]  # type: ignore[attr-defined]
    assert recipe.seeds.init == 7  # no seed that a final had


def test_a_lead_that_may_be_chance_is_said(folder: Path) -> None:
    found = verdict(folder)
    tied = replace(found, levels=[replace(one, rank_group=1) for one in found.levels])
    level = winner_file.leading(tied)
    assert level is not None
    (other,) = (one.label for one in tied.levels if one is not level)
    said = winner_file.about(tied, level, folder)
    assert f"No level is distinguishably best: {other} cannot be told from it, and may do as well." in said


def test_it_trains_to_the_end_and_says_how_that_compares(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result, said = asked(folder, capsys)
    level = winner_file.leading(verdict(folder))
    assert level is not None
    assert result["epochs"] == 5
    assert result["level"] == dict(level.level)
    score = result["metrics"]["test/accuracy"]
    assert (
        f"{level.label}, trained for 5 of 5 epochs: {100 * score:.1f} % test accuracy at epoch {result['best_epoch']}"
        in said
    )
    assert f"finals of it reach {winner_file.score(verdict(folder), level)}, from" in said
    scores = [value for value in level.scores.values() if value is not None]
    where = "among them" if min(scores) <= score <= max(scores) else "above all" if score > max(scores) else "below all"
    assert f"so it lies {where}" in said
    assert (result["place"] / named(4)).exists()
    weights = result["place"] / BEST
    before = weights.stat().st_mtime_ns
    again, _ = asked(folder, capsys)
    assert again == result
    assert weights.stat().st_mtime_ns == before  # nothing was trained twice


def test_an_interrupted_run_goes_on_by_the_same_command_to_the_same_end(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PASSES", "7")
    assert main([str(folder), "--epochs", "9"]) == 3
    assert "run the same command to go on" in capsys.readouterr().err
    monkeypatch.delenv("PASSES")
    (place,) = (path.parent for path in folder.glob("winner/*/last.pt") if not (path.parent / "result.json").exists())
    begun = (place / "last.pt").stat().st_mtime_ns
    assert begun > 0
    result, said = asked(folder, capsys, "--epochs", "9")
    assert "trained for 9 of 9 epochs" in said
    assert "finals of it with 5 epochs reach" in said
    assert result.pop("place") == place
    moved = place.with_name("undisturbed")
    place.rename(moved)
    whole, _ = asked(folder, capsys, "--epochs", "9")
    whole.pop("place")
    assert whole == result
    assert (place / BEST).read_bytes() == (moved / BEST).read_bytes()


def test_it_begins_from_the_best_final_on_the_split_of_that_one(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result, said = asked(folder, capsys, "--from", "best", "--epochs", "1")
    level = winner_file.leading(verdict(folder))
    assert level is not None
    finals = [one for one in read_ledger(folder) if one.stage == "final" and dict(one.level) == dict(level.level)]
    best = max(finals, key=lambda one: one.metrics["val/accuracy"])
    recipe = read(result["place"] / "recipe.yaml", modules=["won"]).recipe
    assert recipe.seeds.split == best.seed
    assert f"trained for 1 of 1 epochs from {folder / 'checkpoints' / best.id / BEST}: " in said
    scratch, _ = asked(folder, capsys, "--epochs", "1")
    assert result["place"] != scratch["place"]
    assert result["metrics"]["val/loss"] < scratch["metrics"]["val/loss"]
    named = folder / "checkpoints" / best.id / BEST
    same, _ = asked(folder, capsys, "--from", str(named), "--epochs", "1")
    assert same["metrics"] != scratch["metrics"]


def test_a_winner_that_was_bred_is_written_with_the_settings_before(
    bred: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Trained with the seeds of a final, what the file says is that final again, epoch by epoch."""
    level = winner_file.leading(verdict(bred))
    assert level is not None
    stored = read(bred / winner_file.NAME, modules=["bred"])
    ends = [turn["until"] for turn in level.earlier]
    assert ends
    assert [one.until for one in stored.earlier] == ends
    assert [one.recipe.optimizer.lr for one in stored.earlier] == [
        turn["point"]["optimizer.lr"] for turn in level.earlier
    ]
    assert stored.recipe.optimizer.lr == level.point["optimizer.lr"] != stored.earlier[-1].recipe.optimizer.lr
    said = f"# Its settings change after {winner_file.turns(stored.earlier)}: those under earlier come first"
    assert said in (bred / winner_file.NAME).read_text()
    sweep: Sweep = declared(bred.parents[1] / "bred.py")
    (final, *_) = (one for one in read_ledger(bred) if one.stage == "final")

    def of_it(recipe: Recipe) -> Recipe:
        return replace(recipe, seed=sweep.final_seeds(final.seed - sweep.seed))

    course = Course(earlier=[replace(one, recipe=of_it(one.recipe)) for one in stored.earlier])
    again = train(sweep.task, of_it(stored.recipe), folder=tmp_path, report=lambda _: False, course=course)
    assert [row["train/loss"] for row in again.history] == [row["train/loss"] for row in final.history]
    assert [row["lr"] for row in again.history] == [row["lr"] for row in final.history]
    result, said = asked(bred, capsys)
    assert f"trained for 6 of 6 epochs with other settings after {winner_file.turns(stored.earlier)}: " in said
    assert result["epochs"] == 6
    written = read(result["place"] / "recipe.yaml", modules=["bred"])
    assert [one.until for one in written.earlier] == ends
    capsys.readouterr()
    fresh, said = asked(bred, capsys, "--from", "best", "--epochs", "1")
    assert "other settings" not in said
    assert read(fresh["place"] / "recipe.yaml", modules=["bred"]).earlier == ()


def test_another_budget_stretches_the_course(bred: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A schedule goes on from segment to segment, so all of them must know how long the run is."""
    stored = read(bred / winner_file.NAME, modules=["bred"])
    ends = [one.until for one in stored.earlier]
    result, said = asked(bred, capsys, "--epochs", "12")
    written = read(result["place"] / "recipe.yaml", modules=["bred"])
    assert [one.until for one in written.earlier] == [2 * end for end in ends]
    assert {one.recipe.epochs for one in written.earlier} == {written.recipe.epochs} == {12}
    assert result["epochs"] == 12
    assert "trained for 12 of 12 epochs with other settings after" in said
    result, said = asked(bred, capsys, "--epochs", "1")
    assert result["epochs"] == 1
    assert "other settings" not in said


def test_a_course_is_stretched_by_its_shares_and_what_would_be_empty_is_left_out() -> None:
    recipe = Recipe(model=MLP(), epochs=20)
    parts = [
        Segment(recipe=replace(recipe, optimizer=SGD(lr=lr)), until=until)
        for lr, until in ((1.0, 4), (0.5, 5), (0.1, 19))
    ]
    stored = Stored(recipe=recipe, earlier=tuple(parts))

    def ends(epochs: int) -> list[tuple[float, int]]:
        found = stretched(stored, epochs)
        assert {one.recipe.epochs for one in found.earlier} <= {found.recipe.epochs} == {epochs}
        return [(one.recipe.optimizer.lr, one.until) for one in found.earlier]

    assert ends(20) == [(1.0, 4), (0.5, 5), (0.1, 19)]
    assert ends(100) == [(1.0, 20), (0.5, 25), (0.1, 95)]
    assert ends(5) == [(1.0, 1)]
    assert stretched(stored, 5).recipe.optimizer.lr == 0.1  # the last epoch of twenty is a quarter of one
    assert ends(1) == []


def test_another_recipe_is_taken_by_its_file(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = read(folder / winner_file.NAME, modules=["won"]).recipe
    mine = write(tmp_path / "mine.json", replace(recipe, batch_size=8, epochs=2))
    result, _ = asked(folder, capsys, "--recipe", str(mine))
    assert result["epochs"] == 2
    assert plain(read(result["place"] / "recipe.yaml", modules=["won"]).recipe) == plain(
        replace(recipe, batch_size=8, epochs=2)
    )


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main([*arguments]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert "Traceback" not in said
    return " ".join(said.split())


def test_wrong_questions_are_said(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = str(folder)
    assert "holds no sweep.json" in refused(capsys, str(tmp_path))
    assert "is not there; leave --from out" in refused(capsys, where, "--from", "nothing")
    assert "is not there; the sweep's command writes it" in refused(capsys, where, "--recipe", str(tmp_path / "x.yaml"))
    assert "which declares the task, is not there" in refused(capsys, where, "--script", str(tmp_path / "x.py"))
    other = tmp_path / "other.py"
    other.write_text((folder.parents[1] / "won.py").read_text().replace('name="won"', 'name="lost"'))
    assert "now asks lost about own, the folder holds won about own" in refused(capsys, where, "--script", str(other))
    strange = tmp_path / "x.yaml"
    strange.write_text('format: 1\nrecipe: {class: Recipe, model: {class: "strange:Net"}}\n')
    assert "strange, which may not be imported" in refused(capsys, where, "--recipe", str(strange))
    damaged = tmp_path / "best.safetensors"
    damaged.write_bytes(b"nothing")
    assert "best.safetensors" in refused(capsys, where, "--from", str(damaged))
    for options in (["--epochs", "0"], ["--epoch", "1"], []):
        with pytest.raises(SystemExit) as ended:
            main([where, *options] if options else [])
        assert ended.value.code == 2
    assert "--help lists the options" in capsys.readouterr().err


def test_a_recipe_that_cannot_be_written_is_said_and_does_no_harm(folder: Path, tmp_path: Path) -> None:
    sweep: Sweep = declared(folder.parents[1] / "won.py")
    hooked = replace(sweep, recipe=replace(sweep.recipe, hooks=(lambda epochs: epochs,)))
    (said,) = winner_file.conclude(hooked, tmp_path, verdict(folder))
    assert said.startswith("There is no winner.yaml: hooks.0 is ")
    assert "made inside a function; write it at the top of a module" in said
    assert list(tmp_path.iterdir()) == []


def test_a_sweep_without_a_final_has_no_winner(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "won"
    place.mkdir()
    (place / "sweep.json").write_text((folder / "sweep.json").read_text())
    assert winner_file.conclude(declared(folder.parents[1] / "won.py"), place, verdict(place)) == []
    assert "no final has finished yet" in refused(capsys, str(place))


def test_a_full_disk_is_a_run_to_go_on_with(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with files_up_to(3000):
        assert main([str(folder), "--epochs", "3"]) == 3
    said = capsys.readouterr().err
    assert "make room there" in said
    assert "run the same command to go on" in said
    result, _ = asked(folder, capsys, "--epochs", "3")
    assert result["epochs"] == 3


def test_data_that_is_not_there_is_a_wrong_question(
    folder: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    script = tmp_path / "won.py"
    script.write_text(SCRIPT.replace("data=clusters", "data=lambda _: open('nowhere.csv')"))
    assert "the data of task 'own' cannot be loaded: " in refused(capsys, str(folder), "--script", str(script))


def test_a_sweep_over_what_seeds_draw_has_no_winner(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (
        SCRIPT.replace('name="won"', 'name="drawn"')
        .replace("each(1, 8)", "8")
        .replace("log_uniform(0.05, 0.5)", "0.1")
        .replace("search=Random(trials=2)", 'search=None, vary=each(("init",), ("init", "order", "split"))')
        .replace("seeds=6", "seeds=2")
        .replace("epochs=5", "epochs=1")
    )
    folder = ran(tmp_path, "drawn", text)
    assert winner_file.conclude(declared(tmp_path / "drawn.py"), folder, verdict(folder)) == []
    assert "draws different things, so none of them wins" in refused(capsys, str(folder))
