"""The command on finals that were run here, of tasks in which a mirror changes nothing, or everything."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sweeps.declared import declared
from sweeps.engine import question
from sweeps.engine.drive import drive
from sweeps.engine.machine import Machine
from sweeps.tta import main

SCRIPT = """
import torch

from sweeps import Sweep, each
from trainables import AdamW, FP64, Maximise, Recipe, Splits, Task, accuracy
from trainables.models import MLP
from trainables.seeds import generator
from trainables.views import Mirrored, View


def data(seed):
    '''Few samples to learn from: the model cannot tell that the mirror changes nothing, or that it turns the class round.'''
    source = generator("mirror", {drawn})
    x = torch.randn(840, 16, generator=source, dtype=torch.float64)
    half = torch.randn(8, generator=source, dtype=torch.float64)
    y = (x @ torch.cat([half, {sign} * half.flip(0)]) > 0).long()
    return Splits(train=(x[:30], y[:30]), val=(x[40:140], y[40:140]), test=(x[140:], y[140:]))


task = Task(name="mirrored", data=data, metrics={{"accuracy": accuracy}}, goal=Maximise("accuracy"))
recipe = Recipe(model=MLP(widths=()), batch_size=each(40, 20), optimizer=AdamW(lr=0.05), epochs=15, precision=FP64())
sweep = Sweep(name="mirrored", task=task, recipe=recipe, seeds=4)
views = [View(name="front to back", change=Mirrored())]
"""


def swept(folder: Path, sign: int, drawn: str = "0") -> Path:
    """A finished sweep below ``folder``; its script comes back."""
    script = folder / "mirrored.py"
    script.write_text(SCRIPT.format(sign=sign, drawn=drawn))
    sweep, place = declared(script), folder / "runs" / "mirrored"
    place.mkdir(parents=True)
    machine = Machine.here(None)
    question.store(place, question.described(sweep, machine))
    drive(sweep, place, lane="local", concurrency=1, machine=machine, followers=[])
    return script


@pytest.fixture(scope="module")
def even(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return swept(tmp_path_factory.mktemp("even"), 1)


def asked(script: Path, *options: str) -> int:
    return main([str(script), "--runs", str(script.parent / "runs"), *options])


def numbers(script: Path) -> dict[str, dict[str, Any]]:
    stored = json.loads((script.parent / "runs" / "mirrored" / "tta.json").read_text())
    return {variant["name"]: variant for variant in stored["variants"]}


def test_a_symmetry_that_is_there_helps(even: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert asked(even, "--view", "mirror") == 0
    said = capsys.readouterr().out
    (variant,) = numbers(even).values()
    gain = variant["differences"]["accuracy"]
    assert gain["low"] > 0
    assert gain["crossed"]
    assert (gain["runs"], gain["samples"], gain["confidence"]) == (4, 700, 0.95)
    assert "it helps" in said
    assert "the same 700 test samples" in said
    ledger = [json.loads(line) for line in (even.parent / "runs/mirrored/trials.jsonl").read_text().splitlines()]
    level = json.loads((even.parent / "runs/mirrored/tta.json").read_text())["level"]
    finals = [line for line in ledger if line["status"] == "completed" and str(line["level"]["batch_size"]) == level]
    mean = sum(line["metrics"]["test/accuracy"] for line in finals) / len(finals)
    assert variant["plain"]["accuracy"] == pytest.approx(mean)


def test_a_symmetry_that_is_not_there_harms(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each final has samples of its own: the intervals are over finals alone."""
    script = swept(tmp_path, -1, "seed")
    assert asked(script, "--view", "mirror", "--level", "20") == 0
    said = capsys.readouterr().out
    (variant,) = numbers(script).values()
    gain = variant["differences"]["accuracy"]
    assert gain["high"] < -0.1
    assert not gain["crossed"]
    assert "it harms" in said
    assert "of 20 reach" in said
    assert "700 test samples each" in said


def test_what_changes_nothing_can_be_chance(
    even: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And several views are measured alone and together, one's own among them."""
    monkeypatch.chdir(even.parent)
    assert asked(even, "--view", "noise:1e-9") == 0
    assert "which can be chance" in capsys.readouterr().out
    assert asked(even, "--view", "noise:0.001", "--view", "mirrored:views") == 0
    said = " ".join(capsys.readouterr().out.split())
    assert list(numbers(even)) == ["noise:0.001", "front to back", "all together"]
    assert "2 views" in said
    assert "intervals hold for all 3 lines at 95 %" in said


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--view", "shift:0"], "--view shift:0: write mirror"),
        (["--view", "nothing"], "--view nothing: write mirror, shift:1"),
        (["--view", "absent_module:view"], "ModuleNotFoundError"),
        (["--view", "mirror", "--shape", "3x5"], "the views cannot be taken of inputs (16,)"),
        (["--view", "shift:1"], "flat images need --shape"),
        (["--view", "mirror", "--level", "7"], "--level 7: there is no such level"),
        (["--view", "mirror", "--view", "mirror"], "--view: mirror would name several lines of the table"),
        (["--view", "mirror", "--quick"], "holds no sweep"),
    ],
    ids=["pixels", "word", "module", "shape", "flat", "level", "twice", "absent"],
)
def test_what_cannot_be_asked_is_one_line(
    even: Path, capsys: pytest.CaptureFixture[str], options: list[str], said: str
) -> None:
    assert asked(even, *options) == 2
    told = capsys.readouterr().err
    assert told.startswith("error: ")
    assert said in " ".join(told.split())
    assert "Traceback" not in told
