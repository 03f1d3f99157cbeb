"""A sweep's trials timed on the way, and the command that times a sweep's recipe."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from analysis.records import Stage
from analysis.tracking_runs import rows
from sweeps.engine.errors import QuestionError
from sweeps.engine.spec import Resources
from sweeps.profiler import main
from tests.sweeps.small import small
from tests.sweeps.test_engine import essence, run
from tests.sweeps.test_kept import ids, one
from tests.trainables.telemetry.nvml import Card, Nvml
from trainables import Profile
from trainables.telemetry.gpu import Address, Gpu

SCRIPT = """
from sweeps import Sweep, each
from trainables import SGD, Recipe
from trainables.models import MLP
from tests.trainables.small import task

recipe = Recipe(model=MLP(widths=(8,)), batch_size=each(16, 32), optimizer=SGD(lr=0.1), epochs=20)
sweep = Sweep(name="timed", task=task, recipe=recipe, seeds=3)
"""


def test_profiled_trials_are_the_same_trials(tmp_path: Path) -> None:
    plain, timed = run(one(), tmp_path / "plain"), run(one(profile=Profile()), tmp_path / "timed")
    assert [essence(record) for record in plain] == [essence(record) for record in timed]
    assert not (tmp_path / "plain" / "artifacts").exists()
    for record in timed:
        found = json.loads((tmp_path / "timed" / "artifacts" / record.id / "profile.json").read_text())
        assert sum(phase["share"] for phase in found["phases"]) == pytest.approx(1.0)
        assert found["epochs"] == [*range(2, 10)]
        assert all("system/data_percent" in row for row in record.history)


def test_a_profile_is_no_part_of_what_a_trial_is() -> None:
    assert ids(small()) == ids(small(profile=Profile(trace=(2, 3))))
    with pytest.raises(QuestionError, match=r"Profile trace \(3, 2\): steps are counted from 1"):
        small(profile=Profile(trace=(3, 2))).check()


def test_a_sweep_s_trace_lies_beside_its_profile(tmp_path: Path) -> None:
    (record, *_) = run(one(profile=Profile(trace=(2, 3))), tmp_path)
    assert json.loads((tmp_path / "artifacts" / record.id / "trace.json").read_text())["traceEvents"]


@pytest.mark.parametrize(("gpus", "known"), [(None, True), (1, True), (0.5, False)], ids=["one", "whole", "half"])
def test_energy_reaches_the_ledger_but_not_from_a_shared_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gpus: float | None, known: bool
) -> None:
    """The counter stands behind the CPU here; it has 250 mJ more for each of nine epochs."""
    monkeypatch.setattr("trainables.telemetry.meter.gpu_of", lambda _: Gpu.found(Nvml(Card()), Address(uuid="aaaa")))
    for record in run(replace(one(), resources=Resources(gpus=gpus)), tmp_path):
        assert record.stage is Stage.FINAL
        assert record.cost.joules == (2.25 if known else None)
        assert all(("joules" in row) == known for row in record.history)
        assert (("perf/joules", 9) in [(name, epoch) for name, _, _, epoch in rows(record, record.history)]) == known
        assert ("system/rss_bytes", 9) in [(name, epoch) for name, _, _, epoch in rows(record, record.history)]


def asked(folder: Path, *options: str) -> int:
    script = folder / "timed.py"
    script.write_text(SCRIPT)
    return main([str(script), "--runs", str(folder / "runs"), *options])


def test_the_command_times_every_level(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert asked(tmp_path, "--epochs", "2") == 0
    said = capsys.readouterr().out
    for words in ("16 on CPU, 1 thread", "32 on CPU, 1 thread", "4 steps of epoch 2", "2 steps of epoch 2", "100 %"):
        assert words in said
    numbers = json.loads((tmp_path / "runs" / "instruments" / "timed" / "profile.json").read_text())
    assert list(numbers) == ["16", "32"]
    assert {phase["phase"] for phase in numbers["16"]["phases"]} >= {
        "data",
        "forward",
        "backward",
        "optimizer",
        "checkpoint",
    }
    assert [path.name for path in (tmp_path / "runs").rglob("*")] == ["instruments", "timed", "profile.json"]


def test_the_command_traces_one_level(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trace = tmp_path / "trace.json"
    assert asked(tmp_path, "--level", "16", "--trace", str(trace)) == 0
    assert f"trace of steps 5 to 9, left out above: {trace}" in " ".join(capsys.readouterr().out.split())
    assert json.loads(trace.read_text())["traceEvents"]
    assert asked(tmp_path, "--level", "16", "--trace", str(trace), "--epochs", "1") == 0
    assert (
        "trace of steps 1 to 4, left out above" in capsys.readouterr().out
    )  # there is no epoch after the one that warms up


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--level", "17"], "--level 17: there is no such level; there are 16, 32"),
        (["--steps", "2-3", "--level", "16"], "name its file by --trace"),
        (["--trace", "t.json"], "--trace is of one level; name it by --level: 16, 32"),
        (["--trace", "t.json", "--level", "16", "--steps", "13-20"], "3 epochs of 16 have 12 steps; name earlier ones"),
        (["--trace", "/nowhere/t.json", "--level", "16"], "there is no folder /nowhere"),
        (["--trace", "/", "--level", "16"], "--trace / is a folder; name a file in it"),
        (["--dry-run"], "--fresh and --dry-run are for the sweep itself"),
    ],
    ids=["level", "steps", "levels", "beyond", "folder", "no file", "dry run"],
)
def test_what_is_asked_wrongly_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], said: str
) -> None:
    assert asked(tmp_path, *options) == 2
    told = capsys.readouterr()
    assert told.err.startswith("error: ")
    assert len(told.err.splitlines()) == 1
    assert said in told.err
    assert not told.out


@pytest.mark.parametrize("text", ["3", "0-3", "5-4", "a-b"])
def test_steps_that_are_none(tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str) -> None:
    with pytest.raises(SystemExit) as left:
        asked(tmp_path, "--steps", text)
    assert left.value.code == 2
    assert "is not two steps" in capsys.readouterr().err


def test_no_command_is_named_as_a_module_of_python_s_own() -> None:
    """A script's folder comes first where Python looks: a ``profile.py`` in it would break ``cProfile``, which torch imports."""
    folder = Path(__file__).resolve().parents[2] / "sweeps"
    assert not {path.stem for path in folder.glob("*.py")} & sys.stdlib_module_names - {"__init__"}
