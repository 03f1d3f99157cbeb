"""Tracking into real SQLite stores: one run a trial and none left under way, whatever happened before."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from analysis.judge import judge
from analysis.ledger import Question, read_question
from analysis.records import Stage, Status, TrialRecord
from analysis.steps import place
from analysis.tracking import Tracker
from analysis.tracking_place import Place
from analysis.tracking_runs import Naming, milliseconds, rows
from analysis.tracking_store import Found, Store
from tests.planted import planted_folder, planted_question, planted_record, planted_records

if TYPE_CHECKING:
    from mlflow.entities import Metric, Run

FINAL = planted_record(level=64, stage=Stage.FINAL, seed=1, number=3, score=0.9)
OTHER = planted_record(level=16, stage=Stage.FINAL, seed=1, number=4, score=0.8)
RUNNING = replace(FINAL, status=Status.RUNNING, history=(), metrics={}, best_epoch=None, ended=None)


class Sweep:
    """A sweep's folder and its store, with what a test asks of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = planted_folder(folder / "planted", [], planted_question([16, 64], seeds=2))
        self.uri = f"sqlite:///{folder}/mlflow.db"
        self.said: list[str] = []

    @property
    def question(self) -> Question:
        return read_question(self.folder)

    def tracker(self, *, linger: float = 1000.0) -> Tracker:
        """A tracker that writes whenever it is asked for links."""
        return Tracker(
            uri=self.uri, question=self.question, warn=self.said.append, linger=linger, pace=0.0 if linger == 0 else 0.2
        )

    def track(self, records: Sequence[TrialRecord]) -> None:
        """What a process does that finds these records in the ledger and has nothing to run."""
        tracker = self.tracker()
        tracker.sync(records)
        tracker.close()

    def store(self) -> Store:
        return Store(Place.of(self.uri), "planted")

    def half(self, record: TrialRecord) -> tuple[Store, Found]:
        """A run as a crash leaves it: under way, with its first two epochs."""
        store = self.store()
        running = replace(record, status=Status.RUNNING)
        found = store.create("half", Naming.of(self.question).tags(running), started=milliseconds(record.started))
        store.log(found, metrics=rows(record, record.history[:2]), params={"seed": str(record.seed)})
        return store, found

    def all_runs(self) -> list[Run]:
        from mlflow import MlflowClient

        client = MlflowClient(self.uri)
        experiment = client.get_experiment_by_name("planted")
        assert experiment is not None
        return list(client.search_runs([experiment.experiment_id], max_results=1000))

    def runs(self) -> dict[str, Run]:
        """The trials' runs by id; fails when a trial has two."""
        found = [run for run in self.all_runs() if run.data.tags.get("regatta.kind") == "trial"]
        by_id = {run.data.tags["regatta.id"]: run for run in found}
        assert len(by_id) == len(found)
        return by_id

    def sweep_run(self) -> Run:
        [run] = [run for run in self.all_runs() if run.data.tags.get("regatta.kind") == "sweep"]
        return run

    def curve(self, run: Run, name: str) -> list[Metric]:
        from mlflow import MlflowClient

        return sorted(MlflowClient(self.uri).get_metric_history(run.info.run_id, name), key=lambda metric: metric.step)


@pytest.fixture(scope="module")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with MLflow's tables and nothing in them: making one takes seconds."""
    folder = tmp_path_factory.mktemp("empty")
    sweep = Sweep(folder)
    sweep.track([])
    assert sweep.said == []
    with closing(sqlite3.connect(folder / "mlflow.db")) as connection, connection:
        for table in ("latest_metrics", "metrics", "params", "tags", "runs", "experiment_tags"):
            connection.execute(f"delete from {table}")
        connection.execute("delete from experiments where name = 'planted'")
    return folder / "mlflow.db"


@pytest.fixture
def sweep(tmp_path: Path, empty_store: Path) -> Sweep:
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    return Sweep(tmp_path)


def test_a_sweep_is_one_experiment_with_a_flat_run_a_trial(sweep: Sweep) -> None:
    records = planted_records({16: [0.8, 0.8], 64: [0.9, 0.9]}, heats=2, diverged=[(16, 1)], failed=[(64, 2)])
    tracker = sweep.tracker()
    for record in records:
        tracker.started(replace(record, status=Status.RUNNING, history=()))
        tracker.ended(record)
    tracker.close()
    runs = sweep.runs()
    assert set(runs) == {record.id for record in records}
    for record in records:
        run = runs[record.id]
        assert run.info.status == ("FAILED" if record.status.lost else "FINISHED")
        assert run.data.tags["regatta.status"] == record.status.value
        assert (run.info.start_time, run.info.end_time) == (milliseconds(record.started), milliseconds(record.ended))
        assert "mlflow.parentRunId" not in run.data.tags
        assert run.data.params["lr"] == str(record.point["optimizer.lr"])
        curve = sweep.curve(run, "val/accuracy")
        assert [metric.step for metric in curve] == [row["epoch"] for row in record.history]
        assert [metric.value for metric in curve] == [row["val/accuracy"] for row in record.history]
        judged = record.status in (Status.COMPLETED, Status.STOPPED)
        assert run.data.metrics.get("best/test_accuracy") == (record.metrics["test/accuracy"] if judged else None)
    assert sweep.sweep_run().info.status == "KILLED"  # no answer was given
    assert sweep.said == []


def test_the_answer_is_the_sweeps_own_run(sweep: Sweep) -> None:
    from mlflow import MlflowClient

    records = planted_records({16: [0.8] * 6, 64: [0.9] * 6}, heats=0)
    planted_folder(sweep.folder, records, planted_question([16, 64], seeds=6))
    (sweep.folder / "report.html").write_text("<h1>64</h1>")
    verdict = judge(sweep.question, records)
    tracker = sweep.tracker()
    tracker.sync(records)
    links = tracker.finish(sweep.folder, verdict)
    tracker.close()
    run = sweep.sweep_run()
    assert (run.info.status, run.info.run_name) == ("FINISHED", "sweep: planted")
    assert run.data.tags["mlflow.note.content"].startswith("**")
    assert run.data.tags["regatta.answer"] == verdict.answer
    assert run.data.params["search"] == "TPE(trials=4)"
    client = MlflowClient(sweep.uri)
    assert [file.path for file in client.list_artifacts(run.info.run_id)] == ["report.html"]
    attached = sweep.folder.parent / "mlartifacts" / "planted" / run.info.run_id / "artifacts" / "report.html"
    assert attached.read_text() == "<h1>64</h1>"
    experiment = client.get_experiment(run.info.experiment_id)
    assert experiment.tags["mlflow.note.content"] == run.data.tags["mlflow.note.content"]
    assert links.run_url is not None
    assert run.info.run_id in links.run_url
    assert links.compare_url is not None
    assert sum(found.info.run_id in links.compare_url for found in sweep.runs().values()) == 10


def test_the_data_is_named_in_every_run(sweep: Sweep) -> None:
    raw = planted_question([16, 64], seeds=2) | {"asked": {"data": "digits"}}
    planted_folder(sweep.folder, [], raw)
    sweep.track([FINAL])
    sweep.track([FINAL])
    for run in (sweep.sweep_run(), sweep.runs()[FINAL.id]):
        assert run.inputs is not None
        [used] = run.inputs.dataset_inputs
        assert used.dataset.name == "digits"


def test_a_lasting_trial_is_seen_live_and_its_epochs_are_written_once(sweep: Sweep) -> None:
    tracker = sweep.tracker(linger=0)
    tracker.started(RUNNING)
    for row in FINAL.history[:3]:
        tracker.reported(FINAL.id, row)
    tracker.links()
    [run] = sweep.runs().values()
    assert run.info.status == "RUNNING"
    assert run.data.params["lr"] == "0.001"
    assert [metric.step for metric in sweep.curve(run, "train/loss")] == [1, 2, 3]
    tracker.reported(FINAL.id, FINAL.history[3])
    tracker.links()
    assert [metric.step for metric in sweep.curve(run, "train/loss")] == [1, 2, 3, 4]
    tracker.ended(FINAL)
    tracker.close()
    [ended] = sweep.runs().values()
    assert ended.info.run_id == run.info.run_id
    assert ended.info.status == "FINISHED"
    assert ended.data.tags["regatta.status"] == "completed"
    assert [metric.step for metric in sweep.curve(run, "train/loss")] == [1, 2, 3, 4, 5, 6]


def test_a_short_trial_has_no_run_before_its_end(sweep: Sweep) -> None:
    tracker = sweep.tracker(linger=1000)
    tracker.sync([])
    tracker.started(RUNNING)
    tracker.reported(FINAL.id, FINAL.history[0])
    tracker.links()
    assert sweep.runs() == {}
    tracker.close()
    assert sweep.runs() == {}


def test_an_interrupted_trial_is_not_left_under_way_and_goes_on_in_its_run(sweep: Sweep) -> None:
    tracker = sweep.tracker(linger=0)
    tracker.started(RUNNING)
    tracker.reported(FINAL.id, FINAL.history[0])
    tracker.links()
    tracker.reported(FINAL.id, FINAL.history[1])
    tracker.close()
    before = sweep.runs()[FINAL.id]
    assert before.info.status == "KILLED"
    assert [metric.step for metric in sweep.curve(before, "val/loss")] == [1, 2]
    assert sweep.sweep_run().info.status == "KILLED"

    tracker = sweep.tracker(linger=0)
    tracker.sync([RUNNING])
    later = [{**row, "seconds": row["seconds"] + 60.0} for row in FINAL.history]  # told again, at other times
    tracker.started(replace(RUNNING, history=later[:2]))
    tracker.reported(FINAL.id, later[2])
    tracker.links()
    assert sweep.runs()[FINAL.id].info.status == "RUNNING"
    tracker.ended(replace(FINAL, history=later))
    tracker.close()
    after = sweep.runs()[FINAL.id]
    assert (after.info.run_id, after.info.status) == (before.info.run_id, "FINISHED")
    steps = [metric.step for metric in sweep.curve(after, "val/loss")]
    assert sorted(set(steps)) == [1, 2, 3, 4, 5, 6]
    assert len(steps) <= 7  # the last epoch before the cut may stand twice: it is not known to be whole


def test_what_ended_without_a_run_is_written_and_doing_it_again_changes_nothing(sweep: Sweep) -> None:
    records = planted_records({16: [0.8], 64: [0.9]}, heats=1)
    sweep.track(records)
    before = {name: (run.info.run_id, run.info.end_time) for name, run in sweep.runs().items()}
    own = sweep.sweep_run().info.run_id
    assert set(before) == {record.id for record in records}
    sweep.track(records)
    assert {name: (run.info.run_id, run.info.end_time) for name, run in sweep.runs().items()} == before
    assert sweep.sweep_run().info.run_id == own


def test_a_run_cut_short_whose_trial_has_ended_is_completed(sweep: Sweep) -> None:
    _, found = sweep.half(FINAL)
    sweep.track([FINAL])
    run = sweep.runs()[FINAL.id]
    assert (run.info.run_id, run.info.status) == (found.run, "FINISHED")
    assert run.data.params["lr"] == "0.001"
    for name in ("train/loss", "val/accuracy", "perf/seconds"):
        assert [metric.step for metric in sweep.curve(run, name)] == [1, 2, 3, 4, 5, 6]
    assert run.data.metrics["best/test_accuracy"] == 0.9


def test_a_run_under_way_whose_trial_is_not_is_ended(sweep: Sweep) -> None:
    sweep.half(FINAL)
    sweep.half(replace(OTHER, id="unknown"))
    sweep.track([RUNNING])
    assert {run.info.status for run in sweep.runs().values()} == {"KILLED"}


def test_two_runs_of_one_trial_become_one(sweep: Sweep) -> None:
    sweep.half(FINAL)
    sweep.half(FINAL)
    sweep.half(OTHER)
    sweep.track([FINAL, OTHER])
    assert set(sweep.runs()) == {FINAL.id, OTHER.id}
    assert {run.info.status for run in sweep.runs().values()} == {"FINISHED"}


def test_the_complete_one_of_two_is_kept(sweep: Sweep) -> None:
    sweep.track([FINAL])
    complete = sweep.runs()[FINAL.id].info.run_id
    sweep.half(FINAL)
    sweep.track([FINAL])
    assert sweep.runs()[FINAL.id].info.run_id == complete


def test_a_lost_trial_that_is_run_again_has_one_run(sweep: Sweep) -> None:
    lost = replace(
        FINAL, status=Status.FAILED, reason="ValueError", history=FINAL.history[:2], metrics={}, ended=1_790_000_003.5
    )
    sweep.track([lost])
    assert sweep.runs()[FINAL.id].info.status == "FAILED"
    tracker = sweep.tracker(linger=0)
    tracker.sync([lost])
    tracker.started(RUNNING)
    tracker.reported(FINAL.id, FINAL.history[0])
    tracker.links()
    tracker.ended(FINAL)
    tracker.close()
    run = sweep.runs()[FINAL.id]
    assert (run.info.status, run.data.tags["regatta.status"]) == ("FINISHED", "completed")
    assert "regatta.reason" not in run.data.tags
    assert len(sweep.curve(run, "train/loss")) == 6


def test_a_changed_question_gets_a_new_run_of_its_own(sweep: Sweep) -> None:
    sweep.track([FINAL])
    planted_folder(sweep.folder, [], planted_question([16, 64], seeds=2) | {"trials": 32})
    sweep.track([FINAL])
    assert sweep.sweep_run().data.params["trials"] == "32"
    assert set(sweep.runs()) == {FINAL.id}


def test_an_earlier_sweep_of_the_same_name_keeps_its_runs_but_none_under_way(sweep: Sweep) -> None:
    sweep.track([FINAL])
    sweep.half(OTHER)
    planted_folder(sweep.folder, [], planted_question([16, 64], seeds=2) | {"created": 1_790_100_000.0})
    sweep.track([FINAL, OTHER])
    runs = [run for run in sweep.all_runs() if run.data.tags["regatta.kind"] == "trial"]
    assert sorted(run.data.tags["regatta.id"] for run in runs) == sorted([FINAL.id, OTHER.id] * 2)
    assert all(run.info.status != "RUNNING" for run in sweep.all_runs())


def test_a_persons_own_runs_are_left_alone(sweep: Sweep) -> None:
    store = sweep.store()
    store.create("mine", {}, started=5)
    sweep.track([FINAL])
    [mine] = [run for run in sweep.all_runs() if run.info.run_name == "mine"]
    assert mine.info.status == "RUNNING"


def test_a_deleted_experiment_is_taken_back(sweep: Sweep) -> None:
    from mlflow import MlflowClient

    MlflowClient(sweep.uri).delete_experiment(sweep.store().experiment)
    sweep.track([FINAL])
    assert set(sweep.runs()) == {FINAL.id}
    assert sweep.said == []


def test_a_copied_store_does_not_write_into_the_originals_folder(sweep: Sweep, tmp_path: Path) -> None:
    sweep.track([FINAL])
    copy = tmp_path / "copy"
    copy.mkdir()
    shutil.copy(tmp_path / "mlflow.db", copy / "mlflow.db")
    copied = Sweep(copy)
    (copied.folder / "report.html").write_text("<h1>64</h1>")
    tracker = copied.tracker()
    tracker.sync([FINAL])
    tracker.finish(copied.folder, judge(copied.question, [FINAL]))
    tracker.close()
    assert not list((tmp_path / "mlartifacts").rglob("report.html"))
    assert any("copied or moved" in text for text in copied.said)
    assert copied.sweep_run().info.status == "FINISHED"


def test_a_long_history_of_many_metrics_is_whole(sweep: Sweep) -> None:
    row = FINAL.history[0]
    history = [{**row, "epoch": epoch} for epoch in range(1, 301)]
    sweep.track([replace(FINAL, history=history)])
    run = sweep.runs()[FINAL.id]
    for name in ("train/loss", "test/accuracy", "perf/samples"):
        assert [metric.step for metric in sweep.curve(run, name)] == list(range(1, 301))


def test_folders_with_spaces_and_letters_of_other_alphabets(empty_store: Path, tmp_path: Path) -> None:
    folder = tmp_path / "größe und β"
    folder.mkdir()
    shutil.copy(empty_store, folder / "mlflow.db")
    other = Sweep(folder)
    (other.folder / "report.html").write_text("<h1>64</h1>")
    tracker = other.tracker()
    tracker.sync([FINAL])
    tracker.finish(other.folder, judge(other.question, [FINAL]))
    tracker.close()
    assert other.said == []
    assert [path.name for path in (folder / "mlartifacts").rglob("*.html")] == ["report.html"]


def test_a_store_that_cannot_be_written_costs_nothing_and_is_made_up_for(sweep: Sweep) -> None:
    database = Path(Place.of(sweep.uri).uri.removeprefix("sqlite:///"))
    good = database.read_bytes()
    database.write_bytes(b"this is no database, and will not be for a while" * 100)
    tracker = sweep.tracker()
    tracker.ended(FINAL)
    assert tracker.links().url is None
    tracker.ended(OTHER)
    assert tracker.links().url is None
    assert len(sweep.said) == 1
    assert "the sweep goes on" in sweep.said[0]
    tracker.close()
    assert len(sweep.said) == 2
    assert "lacks 2 trials" in sweep.said[1]
    assert "run the same command again" in sweep.said[1]
    database.write_bytes(good)
    sweep.track([FINAL, OTHER])
    assert {run.info.status for run in sweep.runs().values()} == {"FINISHED"}


def test_who_asks_waits_as_long_as_trials_are_written_and_hears_how_many_are_left(
    sweep: Sweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = Store.write

    def slow(*arguments: Any, **settings: Any) -> list[Found]:
        time.sleep(0.03)
        return write(*arguments, **settings)

    monkeypatch.setattr(Store, "write", slow)
    monkeypatch.setattr("analysis.tracking_writer._TOGETHER", 1)
    monkeypatch.setattr("analysis.tracking._LAST_WORDS", 2.0)  # less than writing them takes
    monkeypatch.setattr("analysis.tracking._NEWS", 0.05)
    records = [replace(OTHER, id=f"{number:012x}", number=number) for number in range(150)]
    news: list[str] = []
    tracker = Tracker(uri=sweep.uri, question=sweep.question, warn=sweep.said.append, say=news.append)
    try:
        tracker.sync([])
        tracker.links()
        for record in records:
            tracker.ended(record)
        assert tracker.links().url is not None
    finally:
        tracker.close()
    assert len(sweep.runs()) == 150
    assert not sweep.said
    left = [int(line.split()[3]) for line in news]
    assert all(line.startswith("MLflow is given ") for line in news)
    assert left == sorted(left, reverse=True)
    assert len({*left}) > 40  # so it was waited for longer than its last words would be


def test_a_run_whose_epochs_were_trained_again_is_written_anew(sweep: Sweep) -> None:
    """Killed after its third epoch with a checkpoint of the first; what is trained then is otherwise, and ends sooner."""
    rows = [{**row, "time": 100.0 + row["epoch"]} for row in FINAL.history[:3]]
    again = [rows[0], {**rows[1], "val/accuracy": 0.123, "time": 200.0}]
    tracker = sweep.tracker(linger=0)
    try:
        tracker.sync([])
        tracker.started(RUNNING)
        for row in rows:
            tracker.reported(RUNNING.id, row)
        tracker.links()
        assert len(sweep.curve(sweep.runs()[FINAL.id], "val/accuracy")) == 3
        tracker.ended(replace(FINAL, history=again, epochs=2))
        tracker.links()
    finally:
        tracker.close()
    run = sweep.runs()[FINAL.id]
    assert run.info.status == "FINISHED"
    curve = [(point.step, point.value) for point in sweep.curve(run, "val/accuracy")]
    assert curve == [(row["epoch"], row["val/accuracy"]) for row in again]


def test_closing_a_tracker_that_had_nothing_to_write_touches_nothing(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path)
    tracker = sweep.tracker()
    tracker.started(RUNNING)
    tracker.close()
    tracker.close()
    tracker.ended(FINAL)
    assert tracker.links().url is None
    assert not (tmp_path / "mlflow.db").exists()
    assert sweep.said == []


_CHILD = """
import sys, time
from pathlib import Path
from analysis.ledger import read_ledger, read_question
from analysis.tracking import Tracker
from analysis.tracking_tables import Tables
folder = Path(sys.argv[1])
if sys.argv[3] == "one by one":
    Tables.of = lambda client, experiment: None
tracker = Tracker(uri=sys.argv[2], question=read_question(folder))
for record in read_ledger(folder):
    tracker.ended(record)
tracker.links()
time.sleep(60)
"""


@pytest.mark.parametrize(("how", "finals"), [("one by one", 8), ("together", 250)])
def test_after_a_kill_in_the_middle_of_writing_every_trial_has_one_complete_run(
    sweep: Sweep, how: str, finals: int
) -> None:
    records = planted_records({16: [0.8] * finals, 64: [0.9] * finals}, heats=8)
    planted_folder(sweep.folder, records, planted_question([16, 64], seeds=finals))
    command = [sys.executable, "-c", _CHILD, str(sweep.folder), sweep.uri, how]
    with subprocess.Popen(command) as child:
        written = _wait_for_runs(sweep, at_least=4)
        os.kill(child.pid, signal.SIGKILL)
    assert 4 <= written < len(records)
    sweep.track(records)
    runs = sweep.runs()
    assert set(runs) == {record.id for record in records}
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    for record in records[:: len(records) // 32]:
        curve = sweep.curve(runs[record.id], "val/accuracy")
        assert [metric.value for metric in curve] == [row["val/accuracy"] for row in record.history]
    assert sweep.sweep_run().info.status == "KILLED"


def _wait_for_runs(sweep: Sweep, *, at_least: int) -> int:
    """The number of runs in the store, once there are so many."""
    path = sweep.uri.removeprefix("sqlite:///")
    for _ in range(6000):
        with closing(sqlite3.connect(path, timeout=10)) as connection:
            [count] = connection.execute("select count(*) from runs").fetchone()
        if count >= at_least:
            return int(count)
        time.sleep(0.01)
    raise AssertionError("the child wrote nothing")


def test_what_a_trial_notes_by_step_is_seen_live_and_whole_at_its_end(sweep: Sweep) -> None:
    path = place(sweep.folder, FINAL.id)
    path.parent.mkdir(parents=True)
    lines = [{"epoch": 1, "step": s, "loss": 1 / s, "lr": 0.1, "time": 1.79e9 + s} for s in range(10, 70, 10)]

    def note(*rows: dict[str, float]) -> None:
        with path.open("a") as file:
            file.writelines(json.dumps(row) + "\n" for row in rows)

    tracker = Tracker(
        uri=sweep.uri, question=sweep.question, warn=sweep.said.append, linger=0, pace=0.0, folder=sweep.folder
    )
    tracker.started(RUNNING)
    note(*lines[:2])
    tracker.links()
    assert [(m.step, m.value) for m in sweep.curve(sweep.runs()[FINAL.id], "step/loss")] == [(10, 0.1), (20, 0.05)]
    tracker.close()
    # Another process goes on, tells a step again, and the trial ends.
    tracker = Tracker(
        uri=sweep.uri, question=sweep.question, warn=sweep.said.append, linger=0, pace=0.0, folder=sweep.folder
    )
    tracker.sync([RUNNING])
    tracker.started(RUNNING)
    note(lines[1], *lines[2:4])
    tracker.links()
    note(*lines[4:], {"epoch": 1, "step": 70, "loss": None, "lr": 0.1, "time": 1.79e9})
    tracker.ended(FINAL)
    tracker.close()
    run = sweep.runs()[FINAL.id]
    assert [(m.step, m.value) for m in sweep.curve(run, "step/loss")] == [(row["step"], row["loss"]) for row in lines]
    assert [m.step for m in sweep.curve(run, "step/lr")] == [10, 20, 30, 40, 50, 60, 70]
    # What is by step is no epoch: those are all there.
    assert [m.step for m in sweep.curve(run, "train/loss")] == [row["epoch"] for row in FINAL.history]
    assert sweep.said == []
