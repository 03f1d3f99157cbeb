"""Loss curves as pictures."""

from __future__ import annotations

import json
import struct
from dataclasses import replace
from pathlib import Path

import pytest

from analysis.ledger import FolderError
from analysis.records import Stage, Status
from analysis.steps import place
from reports import curve
from reports.curve import draw, main, write_levels, write_sweep, write_trial
from tests.planted import planted_folder, planted_question, planted_records

RECORDS = planted_records({16: [0.9, 0.91], 64: [0.95, 0.94]}, diverged=[(16, 2)])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return planted_folder(tmp_path / "planted", RECORDS, planted_question([16, 64], seeds=2))


def size(path: Path) -> tuple[int, int]:
    """Of a PNG."""
    content = path.read_bytes()
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", content[16:24])
    return width, height


def test_every_level_has_a_picture_of_its_finals(folder: Path) -> None:
    (folder / "curves").mkdir()
    (folder / "curves" / "old.png").touch()
    assert write_levels(folder) == [folder / "curves" / "16.png", folder / "curves" / "64.png"]
    assert {path.name for path in (folder / "curves").iterdir()} == {"16.png", "64.png"}
    width, height = size(folder / "curves" / "16.png")
    assert width > curve.SCALE * curve.WIDTH
    assert height > curve.SCALE * curve.HEIGHT


def test_a_sweep_has_one_picture_with_a_panel_for_each_level(folder: Path) -> None:
    assert write_sweep(folder) == folder / "curves.png"
    both = size(folder / "curves.png")
    write_sweep(folder, most=1)
    assert both[0] > size(folder / "curves.png")[0]


def test_a_level_without_an_ended_final_has_none(tmp_path: Path) -> None:
    records = [r for r in RECORDS if r.stage is Stage.HEAT] + [replace(RECORDS[-1], status=Status.RUNNING)]
    folder = planted_folder(tmp_path / "planted", records, planted_question([16, 64], seeds=2))
    assert write_levels(folder) == []
    assert write_sweep(folder) is None
    assert {path.name for path in folder.iterdir()} == {"sweep.json", "trials.jsonl"}


@pytest.mark.parametrize("wanted", ["9", "t009", "f00009", "f00009"[:6]])
def test_a_trial_is_found_by_number_and_id(folder: Path, wanted: str) -> None:
    path = write_trial(folder, wanted)
    assert path == folder / "curves" / "trial-t009.png"
    assert size(path)[0] > curve.SCALE * curve.WIDTH
    assert write_levels(folder)
    assert path.exists()


def test_what_cannot_be_drawn_says_why(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(FolderError, match="has no trial 'x'; they are t000 to t011"):
        write_trial(folder, "x")
    with pytest.raises(FolderError, match="has several trials 'f0'"):
        write_trial(folder, "f0")
    empty = planted_folder(tmp_path / "empty", [replace(RECORDS[0], history=())], planted_question([16], seeds=2))
    with pytest.raises(FolderError, match="has no epoch with a loss yet"):
        write_trial(empty, "t000")


FINAL = next(record for record in RECORDS if record.stage is Stage.FINAL)


def test_several_runs_are_drawn_with_their_mean_and_one_with_its_best_epoch() -> None:
    both = curve._rows({"a": FINAL.history, "b": FINAL.history}, panel="16")
    means = [row["y"] for row in both if row["place"] == "mean" and row["set"] == "training loss"]
    assert means == [row["train/loss"] for row in FINAL.history]
    assert {row["place"] for row in both} == {"one", "mean"}
    assert {row["panel"] for row in both} == {"16"}
    alone = curve._rows({"a": FINAL.history}, best=3)
    assert {row["place"] for row in alone} == {"run", "best"}
    assert [row["text"] for row in alone if row["place"] == "best"] == ["best by validation: 3"]


def test_a_loss_that_falls_deep_is_drawn_on_a_logarithmic_axis() -> None:
    for depth, kind in ((0.1, False), (10.0, True)):
        rows = curve._rows(
            {"a": [{"epoch": epoch, "train/loss": depth**-epoch if kind else 1.0} for epoch in range(1, 5)]}
        )
        assert ('"log"' in json.dumps(curve._whole(curve._layers(rows), rows, ""))) == kind


def test_a_mean_ends_where_the_first_run_does() -> None:
    first = [{"epoch": e, "train/loss": 1.0} for e in (1, 2, 3)]
    rows = curve._rows({"a": first, "b": [{"epoch": 1, "train/loss": 3.0}, {"epoch": 2, "train/loss": float("nan")}]})
    assert [(row["x"], row["y"]) for row in rows if row["place"] == "mean"] == [(1.0, 2.0)]


def test_a_trial_of_few_epochs_is_drawn_with_its_steps(folder: Path) -> None:
    path = place(folder, RECORDS[-1].id)
    path.parent.mkdir(parents=True)
    each = [{"epoch": 1, "step": step, "samples": 100 * step, "loss": 2.0 / step} for step in range(1, 21)]
    path.write_text("".join(json.dumps(row) + "\n" for row in each))
    rows = curve._by_epoch(each, RECORDS[-1].history)
    assert rows[9] == {"epoch": 1.0, "train/loss": 0.2, "fine": True}
    plain = write_trial(folder, RECORDS[-1].id, folder / "with.png").read_bytes()
    path.unlink()
    assert write_trial(folder, RECORDS[-1].id, folder / "without.png").read_bytes() != plain


def test_any_history_can_be_drawn(tmp_path: Path) -> None:
    assert draw(tmp_path / "a" / "curve.png", {"run": RECORDS[-1].history})
    assert size(tmp_path / "a" / "curve.png")[0] > curve.SCALE * curve.WIDTH
    assert not draw(tmp_path / "none.png", {"run": [{"epoch": 1}]})
    assert not (tmp_path / "none.png").exists()


def test_levels_that_a_file_s_name_cannot_tell_apart_have_two_files(tmp_path: Path) -> None:
    records = planted_records({"a/b": [0.9], "a|b": [0.8]})
    folder = planted_folder(tmp_path / "planted", records, planted_question(["a/b", "a|b"], seeds=1))
    assert [path.name for path in write_levels(folder)] == ["a_b.png", "a_b-2.png"]


def test_the_command(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(folder)]) == 0
    assert capsys.readouterr().out.split() == [f"{folder}/curves/16.png", f"{folder}/curves/64.png"]
    assert main([str(folder), "t009", "--out", str(tmp_path / "one.png")]) == 0
    assert capsys.readouterr().out.strip() == f"{tmp_path}/one.png"
    for arguments in (
        [str(tmp_path)],
        [str(folder), "x"],
        [str(folder), "t009", "--out", str(folder / "sweep.json" / "x")],
    ):
        assert main(arguments) == 2
        err = capsys.readouterr().err
        assert err.startswith("error: ")
        assert err.count("\n") == 1
    with pytest.raises(SystemExit) as refused:
        main([str(folder), "--out", "x.png"])
    assert refused.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "name a trial, or leave --out out; --help lists the options" in line


def test_a_trial_without_a_finite_loss_is_drawn_by_its_steps_once_an_epoch_has_ended(tmp_path: Path) -> None:
    record = replace(RECORDS[0], history=[{"epoch": 1, "samples": 400, "train/loss": None}], best_epoch=None)
    folder = planted_folder(tmp_path / "planted", [record], planted_question([16], seeds=2))
    steps = place(folder, record.id)
    steps.parent.mkdir(parents=True)
    each = [{"epoch": 1, "step": step, "samples": 100 * step, "loss": 2.0**step} for step in range(1, 4)]
    steps.write_text("".join(json.dumps(row) + "\n" for row in each))
    assert size(write_trial(folder, record.id))[0] > curve.SCALE * curve.WIDTH
    begun = planted_folder(tmp_path / "begun", [replace(record, history=())], planted_question([16], seeds=2))
    place(begun, record.id).parent.mkdir(parents=True)
    place(begun, record.id).write_text(steps.read_text())
    with pytest.raises(FolderError, match="has no epoch with a loss yet"):
        write_trial(begun, record.id)
