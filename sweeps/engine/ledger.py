"""Writing a sweep's folder: the append-only ledger, what is under way, and whole files."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from analysis.ledger import LIVE
from analysis.records import TrialRecord
from sweeps.engine.errors import QuestionError

LEDGER = "trials.jsonl"


class Ledger:
    """``trials.jsonl``: a line when a trial starts and one when it ends, each on disk before ``append`` returns.

    ``live.jsonl`` beside it holds the epochs of what is under way; it is not synced, since checkpoints hold the same rows.
    """

    def __init__(self, folder: Path) -> None:
        _mend(folder / LEDGER)
        self._file = (folder / LEDGER).open("ab")
        self._live = (folder / LIVE).open("ab")

    def append(self, record: TrialRecord) -> None:
        """Write a line and sync it."""
        self._file.write(json.dumps(record.to_json(), allow_nan=False).encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())

    def live(self, record_id: str, row: Mapping[str, Any]) -> None:
        """Note an epoch of a trial under way."""
        self._live.write(json.dumps({"id": record_id, "row": row}).encode() + b"\n")
        self._live.flush()

    def close(self) -> None:
        """Close the files; nothing is left to be written."""
        self._file.close()
        self._live.close()


def write_live(folder: Path, rows: Mapping[str, list[dict[str, Any]]]) -> None:
    """Start ``live.jsonl`` anew with the epochs of what is still under way."""
    lines = [json.dumps({"id": name, "row": row}) + "\n" for name, history in rows.items() for row in history]
    write(folder / LIVE, "".join(lines))


def write(path: Path, text: str) -> None:
    """Write a whole file by temporary file, sync and rename."""
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


@contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Hold the folder for this process. Raises QuestionError when another command is at work in it."""
    with (folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise QuestionError(
                f"another command is at work in {folder}; wait for it, or name another folder by --runs"
            ) from None
        yield


def _mend(path: Path) -> None:
    """Cut off a last line that a crash tore, so that the next line starts on its own; whole lines are never touched."""
    if not path.exists():
        return
    with path.open("rb+") as file:
        content = file.read()
        whole, newline, torn = content.rpartition(b"\n")
        if not torn:
            return
        try:
            json.loads(torn)
            file.write(b"\n")
        except ValueError:
            file.truncate(len(whole) + len(newline))
        file.flush()
        os.fsync(file.fileno())
