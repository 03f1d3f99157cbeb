"""Reading a sweep's folder: the question (``sweep.json``) and the ledger (``trials.jsonl``)."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analysis.records import Scalar, TrialRecord

LIVE = "live.jsonl"
"""Epochs of what is under way, which the ledger does not hold yet."""


class FolderError(Exception):
    """A folder that holds no sweep, or one that cannot be read; the message says which and what to do."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Goal:
    """What is optimised: a metric's bare name (``accuracy``), ``max`` or ``min``, and the value that counts as reached."""

    metric: str
    mode: str
    target: float | None = None

    @property
    def sign(self) -> float:
        """+1 where more is better, -1 where less is."""
        return 1.0 if self.mode == "max" else -1.0

    def better(self, a: float, b: float) -> bool:
        """True when a is strictly better than b; a NaN is never better."""
        return self.sign * a > self.sign * b

    def reached(self, value: float) -> bool:
        """True when the value is at the target or beyond it; False when there is no target."""
        return self.target is not None and self.sign * value >= self.sign * self.target


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """The part of ``sweep.json`` that the analysis reads; ``raw`` is all of it.

    ``factors`` maps the path of each compared factor to its values, in the order in which the sweep names them.
    """

    sweep: str
    task: str
    goal: Goal
    factors: Mapping[str, Sequence[Scalar]]
    seeds: int
    varied: Sequence[str]
    raw: Mapping[str, Any]

    @property
    def levels(self) -> list[dict[str, Scalar]]:
        """The compared levels in order: those listed, fewer than all combinations where a factor stands inside another's option."""
        listed = self.raw.get("levels")
        if listed:
            return [dict(level) for level in listed]
        return [dict(zip(self.factors, values, strict=True)) for values in itertools.product(*self.factors.values())]


def read_question(folder: Path) -> Question:
    """Read ``sweep.json``. Raises FolderError when it is absent or not a sweep's."""
    path = folder / "sweep.json"
    try:
        raw = json.loads(path.read_text())
        goal = raw["goal"]
        return Question(
            sweep=raw["sweep"],
            task=raw["task"],
            goal=Goal(metric=goal["metric"], mode=goal["mode"], target=goal.get("target")),
            factors={factor["path"]: tuple(factor["levels"]) for factor in raw["factors"]},
            seeds=raw["seeds"],
            varied=tuple(raw["vary"]),
            raw=raw,
        )
    except FileNotFoundError:
        raise FolderError(
            f"{folder} holds no sweep.json; run the sweep first, or name the folder that it wrote: runs/ and the sweep's name"
        ) from None
    except OSError as error:
        raise FolderError(f"{path} cannot be read: {error.strerror}") from error
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise FolderError(f"{path} is not a sweep's question ({type(error).__name__}: {error})") from error


def read_ledger(folder: Path) -> list[TrialRecord]:
    """Read ``trials.jsonl``: the last line of an id counts, in the order in which the ids first appear.

    A torn last line (no newline at its end, a crash in the middle of a write) is ignored; an absent ledger is an empty one.
    Raises FolderError for a damaged line before the last.
    """
    path = folder / "trials.jsonl"
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise FolderError(f"{path} cannot be read: {error.strerror}") from error
    lines = text.split(b"\n")
    torn = lines.pop()
    records: dict[str, TrialRecord] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            record = TrialRecord.from_json(json.loads(line))
        except (ValueError, KeyError, TypeError) as error:
            raise FolderError(
                f"{path}, line {number} is damaged ({error}); take that line out and run again"
            ) from error
        records[record.id] = record
    if torn.strip():
        try:
            record = TrialRecord.from_json(json.loads(torn))
            records[record.id] = record
        except (ValueError, KeyError, TypeError):
            pass  # torn by a crash: what it said is measured again
    return list(records.values())


def read_live(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """The epochs of ``live.jsonl`` by trial, each as it was told last; lines that are torn or damaged are left out.

    A trial that goes on from a checkpoint tells its epochs anew: those that it had told past them go. Raises OSError for a file
    that is there and cannot be read.
    """
    try:
        lines = (folder / LIVE).read_bytes().split(b"\n")
    except FileNotFoundError:
        return {}
    found: dict[str, list[dict[str, Any]]] = {}
    for line in lines:
        try:
            entry = json.loads(line)
            name, row, epoch = str(entry["id"]), entry["row"], entry["row"]["epoch"]
        except (ValueError, KeyError, TypeError):
            continue
        if type(epoch) is not int:
            continue
        rows = found.setdefault(name, [])
        while rows and rows[-1]["epoch"] >= epoch:
            rows.pop()
        rows.append(row)
    return found
