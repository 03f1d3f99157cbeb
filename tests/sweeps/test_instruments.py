"""The commands that measure a sweep's recipe, on a sweep's file with a model of its own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from sweeps import Sweep, batch_tuner, choice, each, int_range, log_uniform, range_test
from sweeps.instrument import RATE, configurations
from tests.trainables.small import task
from trainables import SGD, AdamW, Recipe
from trainables.models import MLP
from trainables.range_curve import figure

SCRIPT = """
from dataclasses import dataclass

from torch import nn

from sweeps import Random, Sweep, each, log_uniform
from tests.trainables.small import task
from trainables import SGD, Recipe


@dataclass(frozen=True, kw_only=True, slots=True)
class Own:
    width: int = 8

    def build(self) -> nn.Module:
        return nn.Sequential(nn.Linear(2, self.width), nn.Tanh(), nn.Linear(self.width, 3))


sweep = Sweep(
    name="own",
    task=task,
    recipe=Recipe(model=Own(width=each(4, 8)), batch_size=16, optimizer=SGD(lr=log_uniform(1e-3, 1.0), momentum=0.9)),
    search=Random(trials=2),
)
"""


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "own.py"
    path.write_text(SCRIPT)
    return path


def sweep(**changes: object) -> Sweep:
    recipe = Recipe(model=MLP(widths=(8,)), batch_size=16)
    return Sweep(name="q", task=task, recipe=recipe, **changes)  # type: ignore[arg-type]


def test_a_level_has_its_own_recipe_and_the_middle_of_what_is_searched() -> None:
    from dataclasses import replace

    holed = replace(
        sweep(),
        recipe=Recipe(
            model=MLP(widths=(int_range(4, 10),), dropout=choice(None, 0.1, 0.2)),
            batch_size=each(8, 32),
            optimizer=AdamW(lr=log_uniform(1e-4, 1e-2)),
        ),
    )
    small, large = configurations(holed)
    assert (small.label, large.label) == ("8", "32")
    assert (small.recipe.batch_size, large.recipe.batch_size) == (8, 32)
    assert small.recipe.optimizer.lr == pytest.approx(1e-3)
    assert small.recipe.model == MLP(widths=(7,), dropout=0.1)
    assert small.held == {"model.widths.0": 7, "model.dropout": 0.1, RATE: pytest.approx(1e-3)}
    assert configurations(holed, "32", free=(RATE,))[0].held.keys() == {"model.widths.0", "model.dropout"}
    rates = replace(sweep(), recipe=Recipe(model=MLP(), optimizer=SGD(lr=each(0.1, 0.2))))
    assert [each.label for each in configurations(rates, free=(RATE,))] == ["q"]


def test_the_range_test_as_a_command(script: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = script.parent / "out"
    torch.set_num_threads(2)
    asked = [str(script), "--steps", "60", "--repeats", "3", "--out", str(place)]
    assert range_test.main(asked) == 0
    assert torch.get_num_threads() == 1  # as a worker of the sweep has
    said = capsys.readouterr().out
    numbers = json.loads((place / "range_test.json").read_text())
    assert list(numbers["levels"]) == ["4", "8"]
    for label, level in numbers["levels"].items():
        assert f"{label}: Take {figure(level['tenth']['value'])} [" in said
        assert len(level["curves"]) == 3
    assert (place / "range_test.png").read_bytes().startswith(b"\x89PNG")
    assert range_test.main([*asked, "--level", "4", "--task", "trainables.tasks:digits"]) == 2
    assert "RuntimeError" in capsys.readouterr().err  # two inputs against 64 pixels


def test_the_batch_tuner_as_a_command(script: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its process reads the file again: the model is known nowhere else."""
    place = script.parent / "out"
    torch.set_num_threads(2)
    options = ["--level", "8", "--rounds", "2", "--seconds", "0.005", "--memory", "500MB", "--out", str(place)]
    assert batch_tuner.main([str(script), *options]) == 0
    assert torch.get_num_threads() == 1  # which its process is given
    said = capsys.readouterr().out
    numbers = json.loads((place / "batch_tuner.json").read_text())
    (level,) = numbers["levels"].values()
    assert level["limit"]["reason"] == "the whole training set, 61, fits"
    assert [pace["batch"] for pace in level["knee"]["paces"]] == [8, 16, 32]
    assert f"Take {level['batch']} samples at once: the whole training set, 61, fits; throughput" in said
    assert "61 were seen to fit, and memory did not end" in said
    assert (place / "batch_tuner_8.png").read_bytes().startswith(b"\x89PNG")
    assert level["memory_bytes"] == 500_000_000


@pytest.mark.parametrize(
    ("command", "options", "said"),
    [
        (range_test.main, ["--low", "1", "--high", "0.1"], "range test: RangeTest from 1 to 0.1"),
        (range_test.main, ["--level", "5"], "--level 5: there is no such level; there are 4, 8"),
        (range_test.main, ["--dry-run"], "leave them out here"),
        (batch_tuner.main, ["--first", "0"], "batch tuner: BatchTuner first 0 must be"),
        (batch_tuner.main, ["--task", "absent:task"], "--task absent:task"),
    ],
    ids=["rates", "level", "options", "batch", "task"],
)
def test_what_cannot_be_asked_is_one_line(
    script: Path, capsys: pytest.CaptureFixture[str], command: object, options: list[str], said: str
) -> None:
    assert command([str(script), *options, "--out", str(script.parent)]) == 2  # type: ignore[operator]
    told = capsys.readouterr().err
    assert told.startswith("error: ")
    assert said in told
    assert len(told.splitlines()) == 1


def test_a_file_that_is_not_there_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    for command in (range_test.main, batch_tuner.main):
        assert command(["absent.py"]) == 2
        assert "absent.py is not a file" in capsys.readouterr().err


def test_a_size_has_its_unit(script: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for size in ("much", "1", "0MB"):
        with pytest.raises(SystemExit, match="2"):
            batch_tuner.main([str(script), "--memory", size])
        assert "write 800MB or 2GB" in capsys.readouterr().err
