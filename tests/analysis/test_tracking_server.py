"""Tracking to a real MLflow server: one that is not there yet, then is, then has gone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest

from analysis.judge import judge
from analysis.ledger import read_question
from analysis.records import Stage
from analysis.tracking import Tracker, check
from tests.analysis.test_tracking_place import closed_port
from tests.planted import planted_folder, planted_question, planted_record, planted_records


@contextmanager
def served(folder: Path, port: int) -> Iterator[None]:
    """An MLflow server on loopback, until the block ends."""
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", f"sqlite:///{folder}/mlflow.db"]
    command += ["--artifacts-destination", str(folder / "files"), "--port", str(port), "--workers", "1"]
    quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with (folder / "server.log").open("w") as log:
        # A session of its own: the server has children, which end with it.
        server = subprocess.Popen(
            command, stdout=log, stderr=log, env=os.environ | quiet, cwd=folder, start_new_session=True
        )
    try:
        _wait_for(f"http://127.0.0.1:{port}/health")
        yield
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(timeout=120)


def _wait_for(url: str) -> None:
    for _ in range(1800):
        try:
            with urlopen(url, timeout=1):
                return
        except (URLError, ConnectionError, TimeoutError):
            time.sleep(0.1)
    raise AssertionError(f"no answer from {url}")


@pytest.mark.slow
def test_a_server_that_comes_and_goes_gets_everything_in_the_end(tmp_path: Path) -> None:
    from mlflow import MlflowClient

    records = planted_records({16: [0.8] * 2, 64: [0.9] * 2}, heats=1)
    folder = planted_folder(tmp_path / "planted", records, planted_question([16, 64], seeds=2))
    (folder / "report.html").write_text("<h1>64</h1>")
    question = read_question(folder)
    port = closed_port()
    uri = f"http://me:hunter2@127.0.0.1:{port}"
    said: list[str] = []

    tracker = Tracker(uri=uri, question=question, warn=said.append, linger=0.0, pace=0.0)
    tracker.ended(records[0])
    assert tracker.links().url is None
    assert len(said) == 1
    assert "Connection refused" in said[0]
    with served(tmp_path, port):
        check(uri)
        for record in records[1:-1]:
            tracker.ended(record)
        links = tracker.finish(folder, judge(question, records))
        client = MlflowClient(f"http://127.0.0.1:{port}")
        experiment = client.get_experiment_by_name("planted")
        assert experiment is not None
        runs = client.search_runs([experiment.experiment_id])
        assert {run.data.tags.get("regatta.id") for run in runs} == {None, *(record.id for record in records[:-1])}
        [own] = [run for run in runs if run.data.tags["regatta.kind"] == "sweep"]
        assert [file.path for file in client.list_artifacts(own.info.run_id)] == ["report.html"]
        assert links.command is None
        assert links.url is not None
        assert links.url.startswith(f"http://127.0.0.1:{port}/#/experiments/{experiment.experiment_id}/runs?")
    tracker.ended(records[-1])
    tracker.ended(planted_record(level=64, stage=Stage.FINAL, seed=9, number=99, score=0.9))
    tracker.close()
    assert len(said) == 2
    assert "lacks 2 trials" in said[1]
    assert "hunter2" not in "".join([*said, str(links)])
