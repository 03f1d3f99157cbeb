"""Runs written into MLflow's tables are those that its client writes, row for row."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from analysis import steps
from analysis.ledger import read_question
from analysis.records import Stage, Status, TrialRecord
from analysis.tracking import Tracker
from analysis.tracking_place import Place
from analysis.tracking_runs import Data, Naming
from analysis.tracking_store import Found, Store
from analysis.tracking_tables import Tables, Whole
from analysis.tracking_writer import Writer
from tests.planted import planted_folder, planted_question, planted_record

FINAL = planted_record(level=64, stage=Stage.FINAL, seed=1, number=3, score=0.9)
LOST = planted_record(level=16, stage=Stage.FINAL, seed=1, number=4, score=0.8, status=Status.FAILED, epochs=2)
DIVERGED = replace(
    planted_record(
        level=16, stage=Stage.HEAT, seed=0, number=5, score=0.1, status=Status.DIVERGED, reason="loss is nan"
    ),
    metrics={"val/accuracy": float("nan")},
)
EMPTY = replace(planted_record(level=16, stage=Stage.HEAT, seed=0, number=6, score=0.1, epochs=0), metrics={})
RECORDS = (FINAL, LOST, DIVERGED, EMPTY)
PER_RUN = {
    "runs": "run_uuid",
    "tags": "run_uuid",
    "params": "run_uuid",
    "metrics": "run_uuid",
    "latest_metrics": "run_uuid",
    "inputs": "destination_id",
}


def begun(folder: Path, said: list[str]) -> Tracker:
    """A tracker into ``folder/mlflow.db``, with what one of the records noted by step."""
    raw = planted_question([16, 64], seeds=2) | {"asked": {"data": "digits"}, "command": "python sweeps/planted.py"}
    planted_folder(folder / "planted", [], raw)
    notes = steps.place(folder / "planted", FINAL.id)
    notes.parent.mkdir(parents=True)
    line = '{"epoch": 1, "step": 10, "loss": 0.5, "lr": 0.1, "time": 1790000000.5}\n'
    notes.write_text(line + line)  # as after a crash: the same step told twice
    return Tracker(
        uri=f"sqlite:///{folder}/mlflow.db",
        question=read_question(folder / "planted"),
        warn=said.append,
        folder=folder / "planted",
    )


def tracked(folder: Path, records: Sequence[TrialRecord] = RECORDS) -> list[str]:
    """Track the records; the warnings come back."""
    said: list[str] = []
    tracker = begun(folder, said)
    for record in records:
        tracker.ended(record)
    tracker.links()
    tracker.close()
    return said


def stored(folder: Path) -> dict[str, dict[str, list[dict[str, Any]]]]:
    """Every row of every trial's run, by the trial's id and the table: in order where MLflow's pages show the order."""
    with closing(sqlite3.connect(folder / "mlflow.db")) as connection:
        connection.row_factory = sqlite3.Row

        def rows(text: str, *values: str) -> list[dict[str, Any]]:
            return [dict(row) for row in connection.execute(text, values)]

        trials = rows("select run_uuid, value from tags where key = 'regatta.id'")
        found = {}
        for trial in trials:
            run = trial["run_uuid"]
            tables = {
                table: rows(f"select * from {table} where {key} = ? order by rowid", run)
                for table, key in PER_RUN.items()
            }
            for put in tables["inputs"]:
                tables["input_tags"] = rows("select * from input_tags where input_uuid = ?", put["input_uuid"])
            # Ids are drawn anew, and each store has a folder of its own.
            for row in (row for several in tables.values() for row in several):
                for name, value in row.items():
                    if name in ("input_uuid", "source_id"):
                        row[name] = len(value)
                    elif isinstance(value, str):
                        row[name] = value.replace(run, "<run>").replace(str(folder), "<folder>")
            tables["tags"].sort(key=lambda row: row["key"])
            found[trial["value"]] = tables
        return found


def client_only(client: object, experiment: object) -> None:
    """What ``Tables.of`` says where there are no tables to write."""


def test_rows_are_those_that_the_client_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert tracked(tmp_path / "tables") == []
    monkeypatch.setattr(Tables, "of", client_only)
    assert tracked(tmp_path / "client") == []
    by_client = stored(tmp_path / "client")
    assert by_client.keys() == {record.id for record in RECORDS}
    assert all(len(run["inputs"]) == len(run["input_tags"]) == 1 for run in by_client.values())
    assert sum(row["key"] == "step/loss" for row in by_client[FINAL.id]["metrics"]) == 1
    assert stored(tmp_path / "tables") == by_client


def several(number: int) -> list[TrialRecord]:
    """As many trials, each with an id of its own."""
    return [replace(FINAL, id=f"{index:012x}", number=index) for index in range(number)]


def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many trials each transaction takes, from now on."""
    together: list[int] = []
    write = Store.write

    def counting(store: Store, runs: Sequence[Whole], data: Data | None) -> list[Found]:
        together.append(len(runs))
        return write(store, runs, data)

    monkeypatch.setattr(Store, "write", counting)
    return together


def test_ended_trials_are_written_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    together, said = counted(monkeypatch), list[str]()
    tracker = begun(tmp_path, said)
    tracker.sync(several(250))  # all at once
    tracker.links()
    tracker.close()
    assert together == [100, 100, 50]
    assert len(stored(tmp_path)) == 250
    assert said == []


def test_what_ends_one_after_the_other_is_written_together_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    together, said = counted(monkeypatch), list[str]()
    tracker = begun(tmp_path, said)
    records = several(40)
    tracker.ended(records[0])
    tracker.links()  # by now MLflow is there, and the next are written as they come
    for record in records[1:]:
        tracker.ended(record)
        time.sleep(0.005)  # the driver's work between two
    tracker.close()
    assert sum(together) == 40
    assert len(together) <= 10
    assert not said


def test_a_transaction_takes_so_many_points(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("analysis.tracking_writer._POINTS", 100)
    together, said = counted(monkeypatch), list[str]()
    tracker = begun(tmp_path, said)
    tracker.sync(several(5))  # of some sixty points each
    tracker.links()
    tracker.close()
    assert together == [2, 2, 1]
    assert said == []


def test_a_long_trial_s_rows_are_those_that_the_client_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The client cuts more than a thousand points into several requests."""
    long = planted_record(level=64, stage=Stage.FINAL, seed=1, number=3, score=0.9, epochs=300)
    assert tracked(tmp_path / "tables", [long]) == []
    monkeypatch.setattr(Tables, "of", client_only)
    assert tracked(tmp_path / "client", [long]) == []
    by_client = stored(tmp_path / "client")
    assert len(by_client[long.id]["metrics"]) > 1000
    assert stored(tmp_path / "tables") == by_client


@pytest.mark.parametrize("kind", ["params", "tags"])
def test_one_that_cannot_be_written_holds_up_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """What is wrong with a tag is seen when the run is created, with a parameter after that."""
    told = getattr(Naming, kind)

    def broken(naming: Naming, record: TrialRecord) -> Mapping[str, str]:
        return {"no such character: \ud800": "\ud800"} if record.id == LOST.id else told(naming, record)

    monkeypatch.setattr(Naming, kind, broken)
    together, said = counted(monkeypatch), list[str]()
    tracker = begun(tmp_path, said)
    tracker.sync(RECORDS)
    tracker.links()
    tracker.sync(several(20))
    tracker.links()
    tracker.close()
    assert together == [4, 20]  # it is not among others again
    assert [sentence for sentence in said if "cannot be written" in sentence], said
    assert [sentence for sentence in said if "lacks 1 trial" in sentence], said
    whole = {name for name, tables in stored(tmp_path).items() if tables["runs"][0]["status"] in ("FINISHED", "FAILED")}
    assert whole == {FINAL.id, DIVERGED.id, EMPTY.id, *(record.id for record in several(20))}


def test_a_store_out_of_reach_is_not_tried_for_every_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And what was noted by step is there once when it can be reached again."""
    write, tried, fails = Store.write, list[int](), [True]

    def failing(store: Store, runs: Sequence[Whole], data: Data | None) -> list[Found]:
        tried.append(len(runs))
        if fails[0]:
            raise ConnectionError("gone")
        return write(store, runs, data)

    monkeypatch.setattr(Store, "write", failing)
    begun(tmp_path, []).close()
    folder, place = tmp_path / "planted", Place.of(f"sqlite:///{tmp_path}/mlflow.db")
    writer = Writer(place=place, question=read_question(folder), linger=10.0, pace=4.0, folder=folder)
    writer.sync([FINAL, *several(500)])
    with pytest.raises(ConnectionError):
        writer.work(0.0)
    assert tried == [100, 100]
    fails[0] = False
    writer.work(1.0)
    assert tried == [100, 100, 100, 100, 100, 1]
    assert writer.lacking() == ""
    runs = stored(tmp_path)
    assert len(runs) == 501
    assert sum(row["key"] == "step/loss" for row in runs[FINAL.id]["metrics"]) == 1


def test_nothing_is_written_into_an_experiment_that_was_deleted(tmp_path: Path) -> None:
    from mlflow import MlflowClient

    said: list[str] = []
    tracker = begun(tmp_path, said)
    tracker.sync([FINAL])
    tracker.links()
    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    experiment = client.get_experiment_by_name("planted")
    assert experiment is not None
    client.delete_experiment(experiment.experiment_id)
    tracker.ended(LOST)
    tracker.links()
    tracker.close()
    assert stored(tmp_path).keys() == {FINAL.id}
    assert [sentence for sentence in said if "cannot be written" in sentence], said


def test_a_server_s_tables_are_left_to_it(tmp_path: Path) -> None:
    from mlflow import MlflowClient

    local = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    experiment = local.get_experiment(local.create_experiment("planted"))
    assert Tables.of(local, experiment) is not None
    assert Tables.of(MlflowClient("http://127.0.0.1:9"), experiment) is None
