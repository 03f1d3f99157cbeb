"""Loss and learning rate by step, as trials leave them beside their checkpoints (``artifacts/<id>/steps.jsonl``)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from analysis.records import Row

WHOLE = 1000
"""Up to so many lines of a trial a tracking server gets all, of the next so many every second, of twice as many every fourth."""


def place(folder: Path, record_id: str) -> Path:
    """The file of a trial, whether it is there or not."""
    return folder / "artifacts" / record_id / "steps.jsonl"


def read(path: Path) -> list[Row]:
    """The lines of a file by step, each step once; none where there is no file.

    A run that had to go back tells its steps again, from where it went on: what was told of these before was another course, and
    is left out. Lines that are torn are left out too.
    """
    try:
        text = path.read_bytes()
    except OSError:
        return []
    rows: list[Row] = []
    for row in _parsed(text):
        while rows and rows[-1]["step"] >= row["step"]:
            rows.pop()
        rows.append(row)
    return rows


def kept(number: int) -> bool:
    """True for a line, counted from 0, that a tracking server gets: all of the first, ever fewer of the others."""
    return number % (1 << (number // WHOLE).bit_length()) == 0


class Tail:
    """A file that is still written: the lines that have come since they were last ``taken``, the same whenever they are asked for.

    Steps that are told again are left out, since they have been handed on.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = self._number = 0
        self._step = 0
        self._due: list[Row] = []

    def due(self) -> list[Row]:
        """Lines to be handed on, in order; looking again gives them again, with those that came since."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                text = file.read()
        except OSError:
            return self._due
        whole = text.rfind(b"\n") + 1
        self._offset += whole
        for row in _parsed(text[:whole]):
            if row["step"] <= self._step:
                continue
            self._step = row["step"]
            if kept(self._number):
                self._due.append(row)
            self._number += 1
        return self._due

    def taken(self) -> None:
        """What was due has been handed on."""
        self._due = []


def _parsed(text: bytes) -> Iterator[dict[str, Any]]:
    for line in text.split(b"\n"):
        try:
            row = json.loads(line)
            if isinstance(row["step"], int) and isinstance(row["epoch"], int):
                yield row
        except (ValueError, KeyError, TypeError):
            continue
