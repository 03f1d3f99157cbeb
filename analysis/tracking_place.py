"""Where runs are tracked: reading, checking and showing a tracking URI."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self
from urllib.parse import quote, unquote, urlsplit

from analysis.redact import redact

SERVERS = ("http", "https")
DATABASES = ("postgresql", "mysql")
_SQLITE_HEADER = b"SQLite format 3\x00"
_ANSWERS_WITHIN = 4  # seconds


class TrackingError(Exception):
    """Runs cannot be tracked there; the message says why and what to do. Raised before anything is started."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """A tracking URI, read: ``uri`` for the client (it may hold a password), ``shown`` for people (it does not).

    ``database`` is the file of a SQLite store, None for a server or another database.
    """

    uri: str
    shown: str
    database: Path | None = None

    @classmethod
    def of(cls, uri: str) -> Self:
        """Read a URI; a SQLite file's path becomes absolute. Raises TrackingError for one that cannot be used."""
        scheme = urlsplit(uri).scheme.lower().partition("+")[0]
        if scheme in (*SERVERS, *DATABASES):
            if not urlsplit(uri).hostname:
                raise TrackingError(f"tracking URI {shown(uri)!r} names no host; write {scheme}://HOST:PORT")
            return cls(uri=uri.rstrip("/"), shown=shown(uri).rstrip("/"))
        if scheme == "sqlite":
            file, mark, query = uri.partition(":///")[2].partition("?")
            if not file or file == ":memory:":
                raise TrackingError(f"tracking URI {uri!r} names no file; write sqlite:///mlflow.db")
            path = Path(file).expanduser().absolute()
            return cls(uri=f"sqlite:///{path}{mark}{query}", shown=f"sqlite:///{path}", database=path)
        if scheme in ("", "file"):
            raise TrackingError(
                f"tracking URI {uri!r} is a folder of files, which MLflow no longer writes; "
                "use a SQLite file beside it instead, such as sqlite:///mlflow.db"
            )
        raise TrackingError(
            f"tracking URI {shown(uri)!r} has the unknown scheme {scheme!r}; use sqlite:///FILE, http(s)://HOST:PORT, "
            "postgresql://… or mysql://…"
        )

    @property
    def artifacts(self) -> Path | None:
        """The folder for artifacts beside a SQLite file; None where the server decides."""
        return self.database.with_name("mlartifacts") if self.database is not None else None


def shown(uri: str) -> str:
    """The address without its user and password: it still works as a link."""
    parts = urlsplit(uri)
    without = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl() if "@" in parts.netloc else uri
    return redact(without).replace("…@", "")


def check(uri: str) -> None:
    """See quickly whether runs can be tracked there; nothing is written.

    A SQLite file is looked at without importing MLflow; a server gets ``_ANSWERS_WITHIN`` seconds for one request, with the
    credentials that MLflow would use. Raises TrackingError.
    """
    place = Place.of(uri)
    if place.database is not None:
        _check_file(place.database)
    elif place.uri.startswith(SERVERS):
        _check_server(place)
    else:
        _check_database(place)


def _check_file(path: Path) -> None:
    folder = path.parent
    while not folder.exists():
        folder = folder.parent
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise TrackingError(
            f"{path} cannot be written: {folder}: {error.strerror}; name another file: sqlite:///PATH/mlflow.db"
        ) from error
    if not path.exists():
        return
    try:
        with path.open("r+b") as file:
            head = file.read(len(_SQLITE_HEADER))
    except OSError as error:
        raise TrackingError(f"{path} cannot be written: {error.strerror}; name another file") from error
    if head not in (b"", _SQLITE_HEADER):
        raise TrackingError(f"{path} is not a SQLite database; move it away or name another file")


def _check_server(place: Place) -> None:
    quiet()
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    impatient = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0", "MLFLOW_HTTP_REQUEST_TIMEOUT": str(_ANSWERS_WITHIN)}
    try:
        with environment(impatient):
            MlflowClient(place.uri).search_experiments(max_results=1)
    except MlflowException as error:
        status = error.get_http_status_code()  # type: ignore[no-untyped-call]
        text = explained(error, place)
        if status in (401, 403) or "code 401" in text or "code 403" in text:
            raise TrackingError(
                f"the MLflow server {place.shown} refuses the credentials; set MLFLOW_TRACKING_USERNAME and "
                "MLFLOW_TRACKING_PASSWORD (or MLFLOW_TRACKING_TOKEN)"
            ) from None  # the chain may show the password
        raise TrackingError(
            f"no MLflow server answers at {place.shown}: {text}; start it, or track to a file: sqlite:///mlflow.db"
        ) from None


def _check_database(place: Place) -> None:
    from sqlalchemy import create_engine
    from sqlalchemy.exc import SQLAlchemyError

    try:
        with create_engine(place.uri, connect_args={"connect_timeout": _ANSWERS_WITHIN}).connect():
            pass
    except ImportError as error:
        raise TrackingError(
            f"{place.shown} needs the driver {error.name}; install it: pip install {error.name}"
        ) from None
    except SQLAlchemyError as error:
        raise TrackingError(
            f"no database answers at {place.shown}: {explained(error, place)}; start it, or see to the credentials"
        ) from None


def explained(error: BaseException, place: Place) -> str:
    """The innermost cause of an error in one line of at most 200 characters, without credentials."""
    text = " ".join(str(error).split()) or type(error).__name__
    password = urlsplit(place.uri).password if place.database is None else None
    for secret in {password, unquote(password), quote(password)} if password else ():
        text = text.replace(secret, "…")
    text = redact(text)
    refused = re.search(
        r"(Connection refused|Name or service not known|timed out|Temporary failure in name resolution)", text
    )
    if refused:
        return refused.group()
    return text if len(text) <= 200 else text[:199] + "…"


def quiet() -> None:
    """Before MLflow is imported: no telemetry, no word about tables it creates, unless the user's environment says otherwise."""
    import logging
    import warnings

    # MLflow 3.17 on SQLAlchemy 2.1: nothing that a user could do about it.
    warnings.filterwarnings(
        "ignore", message="The ``noload`` loader strategy is deprecated", category=DeprecationWarning
    )

    if "DO_NOT_TRACK" not in os.environ:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    if "MLFLOW_LOGGING_LEVEL" not in os.environ:
        logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)


@contextmanager
def environment(values: Mapping[str, str]) -> Iterator[None]:
    """Set variables that the user has not set, for a while: MLflow reads its time-outs from nowhere else."""
    added = {name: value for name, value in values.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name, value in added.items():
            if os.environ.get(name) == value:
                del os.environ[name]
