"""Event files, read back by TensorBoard's own reader."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from analysis.ledger import FolderError, read_ledger, read_question
from analysis.records import Stage, Status, TrialRecord
from analysis.steps import place
from analysis.tensorboard import Board, file_of, main, write
from tests.planted import planted_folder, planted_question, planted_record, planted_records

ROOT = Path(__file__).resolve().parents[2]
RECORDS = planted_records({16: [0.9, 0.91], 64: [0.95, 0.94]}, failed=[(16, 2)])
HEAT = planted_record(level=64, stage=Stage.HEAT, seed=0, number=99, score=0.5)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return planted_folder(tmp_path / "planted", RECORDS, planted_question([16, 64], seeds=2))


def read_back(run: Path) -> Any:
    """A run as TensorBoard has it."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(run), size_guidance={"scalars": 0, "tensors": 0})
    found.Reload()
    return found


def curve(run: Path, tag: str) -> list[tuple[int, float]]:
    """A scalar by step; by whichever of its two stores this TensorBoard keeps it in."""
    from tensorboard.util import tensor_util

    found = read_back(run)
    tags = found.Tags()
    if tag in tags["scalars"]:
        return [(event.step, event.value) for event in found.Scalars(tag)]
    return [(event.step, float(tensor_util.make_ndarray(event.tensor_proto))) for event in found.Tensors(tag)]


def plugin(run: Path) -> dict[str, Any]:
    """What the HParams tab is told in a run, by tag."""
    from tensorboard.plugins.hparams import plugin_data_pb2

    found = {}
    for tag, content in read_back(run).PluginTagToContent("hparams").items():
        found[tag] = plugin_data_pb2.HParamsPluginData.FromString(content)
    return found


def runs(out: Path) -> set[str]:
    return {str(path.parent.relative_to(out)) for path in out.rglob("*tfevents*")}


def test_every_trial_is_a_run_with_its_curves(folder: Path) -> None:
    out, trials = write(folder)
    assert out == folder / "tensorboard"
    assert trials == len(RECORDS) == 12
    assert runs(out) == {".", *(f"heats/{level}-t{number:03d}" for level, number in heats())} | {
        f"finals/{level}-s{seed}" for level in (16, 64) for seed in (1, 2)
    }
    (final,) = (r for r in RECORDS if r.stage is Stage.FINAL and r.level["batch_size"] == 64 and r.seed == 1)
    for name in ("val/accuracy", "train/loss"):
        assert curve(out / "finals/64-s1", name) == [
            (row["epoch"], pytest.approx(row[name], rel=1e-6)) for row in final.history
        ]
    assert curve(out / "finals/64-s1", "train/lr")[0][1] == pytest.approx(final.history[0]["lr"], rel=1e-6)
    assert curve(out / "finals/64-s1", "whole/best_test_accuracy") == [(0, pytest.approx(0.95, rel=1e-6))]
    events = read_back(out / "finals/64-s1")
    assert events.FirstEventTimestamp() == pytest.approx(final.started)


def heats() -> list[tuple[Any, int | None]]:
    return [(record.level["batch_size"], record.number) for record in RECORDS if record.stage is Stage.HEAT]


def test_the_hparams_tab_has_its_columns_and_a_row_for_every_point(folder: Path) -> None:
    out, _ = write(folder)
    experiment = plugin(out)["_hparams_/experiment"].experiment
    assert experiment.name == "planted"
    columns = {info.name: info for info in experiment.hparam_infos}
    assert set(columns) == {"stage", "batch_size", "lr"}
    rates = [float(str(record.point["optimizer.lr"])) for record in RECORDS]
    assert (columns["lr"].domain_interval.min_value, columns["lr"].domain_interval.max_value) == (
        min(rates),
        max(rates),
    )
    assert {value.string_value for value in columns["stage"].domain_discrete.values} == {"heat", "final"}
    assert next((info.name.tag, info.display_name) for info in experiment.metric_infos) == (
        "whole/best_test_accuracy",
        "test accuracy",
    )
    heat = plugin(out / "heats/16-t000")
    start = heat["_hparams_/session_start_info"].session_start_info
    assert start.hparams["batch_size"].number_value == 16
    assert start.hparams["lr"].number_value == RECORDS[0].point["optimizer.lr"]
    assert start.hparams["stage"].string_value == "heat"
    assert heat["_hparams_/session_end_info"].session_end_info.status == 1
    groups = {
        seed: plugin(out / f"finals/64-s{seed}")["_hparams_/session_start_info"].session_start_info.group_name
        for seed in (1, 2)
    }
    assert groups[1] == groups[2] != start.group_name == "16-t000"  # the finals of a level are one row
    assert groups[1].startswith("64 finals ")
    failed = plugin(out / "finals/16-s2")["_hparams_/session_end_info"].session_end_info
    assert failed.status == 2


def test_the_tab_s_own_code_finds_rows_and_metrics(folder: Path) -> None:
    from tensorboard.backend.event_processing import data_provider, plugin_event_multiplexer
    from tensorboard.context import RequestContext
    from tensorboard.plugins import base_plugin
    from tensorboard.plugins.hparams import api_pb2, backend_context, list_session_groups

    out, _ = write(folder)
    runs = plugin_event_multiplexer.EventMultiplexer()
    runs.AddRunsFromDirectory(str(out))
    runs.Reload()
    provider = data_provider.MultiplexerDataProvider(runs, str(out))
    context = backend_context.Context(base_plugin.TBContext(data_provider=provider))
    request = RequestContext()
    metadata = context.hparams_metadata(request, "")
    experiment = context.experiment_from_metadata(request, "", True, metadata, [])
    asked = api_pb2.ListSessionGroupsRequest(
        start_index=0,
        slice_size=100,
        allowed_statuses=[1, 2],
        aggregation_type=api_pb2.AGGREGATION_AVG,
        col_params=[api_pb2.ColParams(metric=info.name) for info in experiment.metric_infos],
    )
    listed = list_session_groups.Handler(request, context, "", asked).run()
    assert listed.total_size == 8 + 2  # heats, and a row a level
    (row,) = (
        group
        for group in listed.session_groups
        if group.hparams["stage"].string_value == "final" and group.hparams["batch_size"].number_value == 64
    )
    means = {metric.name.tag: metric.value for metric in row.metric_values}
    assert means["whole/best_test_accuracy"] == pytest.approx((0.95 + 0.94) / 2, rel=1e-6)


def test_writing_again_changes_nothing_and_steps_are_there(folder: Path) -> None:
    path = place(folder, RECORDS[0].id)
    path.parent.mkdir(parents=True)
    rows = [{"epoch": 1, "step": step, "loss": 1 / step, "lr": 0.1, "time": 1.79e9 + step} for step in (5, 10, 15)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    out, _ = write(folder)
    before = {path: path.read_bytes() for path in out.rglob("*tfevents*")}
    write(folder)
    assert {path: path.read_bytes() for path in out.rglob("*tfevents*")} == before
    assert curve(out / "heats/16-t000", "step/loss") == [
        (5, pytest.approx(0.2)),
        (10, pytest.approx(0.1)),
        (15, pytest.approx(1 / 15)),
    ]


def told(board: Board, records: Sequence[TrialRecord]) -> None:
    for record in records:
        board.started(replace(record, status=Status.RUNNING, history=(), metrics={}, best_epoch=None, ended=None))
        for row in record.history:
            board.reported(record.id, row)
        board.ended(record)


def contents(out: Path) -> dict[str, Any]:
    """All curves and settings of all runs."""
    found: dict[str, Any] = {}
    for run in sorted(runs(out)):
        tags = read_back(out / run).Tags()
        names = sorted({*tags["scalars"], *(tag for tag in tags["tensors"] if not tag.startswith("_hparams_"))})
        found[run] = {tag: curve(out / run, tag) for tag in names} | {
            tag: str(data) for tag, data in plugin(out / run).items()
        }
    return found


def test_followed_live_the_files_hold_the_same(folder: Path, tmp_path: Path) -> None:
    board = Board(folder, read_question(folder))
    board.sync(RECORDS[:3])
    board.started(RECORDS[3])  # and is killed
    board.reported(RECORDS[3].id, RECORDS[3].history[0])
    assert curve(folder / "tensorboard" / file_of(RECORDS[3]).parent, "train/loss") == [
        (1, pytest.approx(RECORDS[3].history[0]["train/loss"], rel=1e-6))
    ]
    board = Board(folder, read_question(folder))
    board.sync(RECORDS[:3])
    told(board, RECORDS[3:])
    board.close()
    out, _ = write(folder, tmp_path / "whole")
    assert contents(folder / "tensorboard") == contents(out)


def test_a_full_or_forbidden_disk_is_said_once_and_never_raised(folder: Path) -> None:
    (folder / "tensorboard").write_text("in the way")
    said: list[str] = []
    board = Board(folder, read_question(folder), warn=said.append)
    told(board, RECORDS[:2])
    board.close()
    (line,) = said
    assert "the sweep goes on without event files" in line
    assert f"python -m analysis.tensorboard {folder}" in line


def test_names_that_cannot_be_folders_stay_apart() -> None:
    first, second = (
        replace(HEAT, level={"average": text}, id=text[-1]) for text in ("EMA(decay=0.9)/x", "EMA(decay=0.9)|x")
    )
    paths = {file_of(first).parent, file_of(second).parent}
    assert len(paths) == 2
    assert all(len(path.parts) == 2 for path in paths)
    assert file_of(HEAT) == Path("heats/64-t099/events.out.tfevents.h00099")
    assert file_of(replace(HEAT, level={})).parent == Path("heats/t099")


def test_the_command_says_where_and_how_to_look(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(folder), str(tmp_path / "out")]) == 0
    assert capsys.readouterr().out == f"12 trials in {tmp_path}/out\ntensorboard --logdir {tmp_path}/out\n"
    assert main([str(tmp_path)]) == 2
    assert "holds no sweep.json" in capsys.readouterr().err
    (tmp_path / "file").touch()
    assert main([str(folder), str(tmp_path / "file")]) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    with pytest.raises(SystemExit) as refused:
        main([])
    assert refused.value.code == 2
    assert capsys.readouterr().err.endswith("; --help lists the options\n")
    spaced = tmp_path / "a folder"
    assert main([str(folder), str(spaced)]) == 0
    assert capsys.readouterr().out.endswith(f"tensorboard --logdir '{spaced}'\n")
    with pytest.raises(FolderError, match="holds no trial yet"):
        write(planted_folder(tmp_path / "empty", [], planted_question([16], seeds=2)))


def test_it_starts_without_torch_and_tensorboard(folder: Path) -> None:
    code = (
        "import sys; from analysis.tensorboard import main; main(sys.argv[1:]); "
        "print(*({'torch', 'tensorboard', 'ray', 'google'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == ""
    assert len(read_ledger(folder)) == 12


def test_what_single_precision_cannot_hold_is_infinite_and_stops_nothing(folder: Path) -> None:
    record = RECORDS[-1]
    large = replace(record, history=[{**record.history[0], "train/loss": 1e300, "val/loss": -3.5e38}])
    planted_folder(folder, [large], planted_question([16, 64], seeds=2))
    out, _ = write(folder)
    run = (out / file_of(large)).parent
    assert curve(run, "train/loss") == [(1, float("inf"))]
    assert curve(run, "val/loss") == [(1, float("-inf"))]
