"""Tracking URIs: what is taken, what is refused before anything starts, and that no password is shown."""

from __future__ import annotations

import os
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

from analysis.tracking import TrackingError, check
from analysis.tracking_place import Place, environment, explained, quiet


def closed_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


class Refusing(BaseHTTPRequestHandler):
    """A server that wants other credentials, and on other paths is no MLflow server at all."""

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing."""

    def _answer(self) -> None:
        self.send_response(200 if self.path.startswith("/web") else 401)
        self.end_headers()
        self.wfile.write(b"<html>hello</html>")


@pytest.fixture(scope="module")
def refusing() -> Iterator[int]:
    server = HTTPServer(("127.0.0.1", 0), Refusing)
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_files_path_becomes_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    place = Place.of("sqlite:///a b/mlflow.db?timeout=5")
    assert place.database == tmp_path / "a b" / "mlflow.db"
    assert place.uri == f"sqlite:///{tmp_path}/a b/mlflow.db?timeout=5"
    assert place.artifacts == tmp_path / "a b" / "mlartifacts"


@pytest.mark.parametrize(
    ("uri", "says"),
    [
        ("sqlite://", "names no file"),
        ("sqlite:///:memory:", "names no file"),
        ("./mlruns", "sqlite:///mlflow.db"),
        ("file:///tmp/mlruns", "sqlite:///mlflow.db"),
        ("ftp://host/x", "unknown scheme 'ftp'"),
        ("http://", "names no host"),
        ("", "sqlite:///mlflow.db"),
    ],
)
def test_a_uri_that_cannot_be_used_is_refused_with_a_way_out(uri: str, says: str) -> None:
    with pytest.raises(TrackingError, match=says):
        check(uri)


@pytest.mark.parametrize(
    "uri", ["http://me:hunter2@host:5000/ml", "postgresql+psycopg2://me:hunter2@host/db", "http://me:hun@ter2@host"]
)
def test_an_address_is_shown_without_user_and_password(uri: str) -> None:
    text = Place.of(uri).shown
    assert not any(word in text for word in ("me:", "hun", "ter2", "@"))
    assert "host" in text
    assert Place.of(uri).uri == uri


def test_a_file_that_can_be_written_is_fine_and_nothing_is_left(tmp_path: Path) -> None:
    check(f"sqlite:///{tmp_path}/new/folder/mlflow.db")
    assert list(tmp_path.iterdir()) == []
    with sqlite3.connect(tmp_path / "there.db") as connection:
        connection.execute("create table t (x)")
    connection.close()
    check(f"sqlite:///{tmp_path}/there.db")


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.db").write_text("these are my notes, not a database")
    with pytest.raises(TrackingError, match="not a SQLite database"):
        check(f"sqlite:///{tmp_path}/notes.db")
    with pytest.raises(TrackingError, match="cannot be written"):
        check(f"sqlite:///{tmp_path}/notes.db/mlflow.db")
    with pytest.raises(TrackingError, match="cannot be written"):
        check(f"sqlite:///{tmp_path}")


def test_a_folder_that_cannot_be_written_is_refused() -> None:
    with pytest.raises(TrackingError, match="cannot be written"):
        check("sqlite:////proc/mlflow.db")


def test_checking_a_file_imports_neither_mlflow_nor_torch(tmp_path: Path) -> None:
    code = (
        f"import sys; from analysis.tracking import check; check('sqlite:///{tmp_path}/mlflow.db'); "
        "print(sorted({'mlflow', 'torch', 'ray', 'pandas', 'sqlalchemy'} & set(sys.modules)))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


def test_a_server_that_does_not_answer_is_named_without_its_password() -> None:
    with pytest.raises(TrackingError, match="no MLflow server answers at http://127") as raised:
        check(f"http://me:hunter2@127.0.0.1:{closed_port()}")
    assert "Connection refused" in str(raised.value)
    assert "hunter2" not in str(raised.value)


def test_wrong_credentials_are_said(refusing: int) -> None:
    with pytest.raises(TrackingError, match="refuses the credentials; set MLFLOW_TRACKING_USERNAME"):
        check(f"http://me:hunter2@127.0.0.1:{refusing}")


def test_a_web_server_that_is_not_mlflow_is_refused(refusing: int) -> None:
    with pytest.raises(TrackingError, match="no MLflow server answers"):
        check(f"http://127.0.0.1:{refusing}/web")


def test_a_database_that_cannot_be_reached_is_refused_without_its_password() -> None:
    with pytest.raises(TrackingError, match=r"driver|no database answers") as raised:
        check(f"postgresql://me:hunter2@127.0.0.1:{closed_port()}/db")
    assert "hunter2" not in str(raised.value)


def test_an_explanation_is_one_line_without_the_password() -> None:
    place = Place.of("http://me:hunter%202@host")
    text = explained(RuntimeError("401\n for http://me:hunter%202@host with 'hunter 2' " + "x" * 300), place)
    assert "hunter" not in text
    assert "\n" not in text
    assert len(text) <= 200


def test_variables_are_set_for_a_while_where_the_user_set_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGATTA_TEST_A", "mine")
    monkeypatch.delenv("REGATTA_TEST_B", raising=False)
    with environment({"REGATTA_TEST_A": "ours", "REGATTA_TEST_B": "ours"}):
        assert (os.environ["REGATTA_TEST_A"], os.environ["REGATTA_TEST_B"]) == ("mine", "ours")
    assert "REGATTA_TEST_B" not in os.environ
    assert os.environ["REGATTA_TEST_A"] == "mine"


@pytest.mark.parametrize(
    ("mine", "set_to"),
    [({}, "true"), ({"DO_NOT_TRACK": "false"}, None), ({"MLFLOW_DISABLE_TELEMETRY": "false"}, "false")],
)
def test_mlflow_sends_no_telemetry_unless_the_user_says_so(
    mine: dict[str, str], set_to: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("DO_NOT_TRACK", "MLFLOW_DISABLE_TELEMETRY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in mine.items():
        monkeypatch.setenv(name, value)
    quiet()
    assert os.environ.get("MLFLOW_DISABLE_TELEMETRY") == set_to
