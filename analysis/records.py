"""What happened in one trial, as one line of the ledger holds it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import Any, Self, TypedDict

Scalar = str | int | float | bool | None
"""What a level or a point holds: parts are written as labels such as ``SGD(momentum=0.9)``."""

Row = Mapping[str, Any]
"""One epoch of a history: ``epoch``, ``step``, ``seconds`` (since the trial's start), ``lr``, and metrics by name."""


class Turn(TypedDict):
    """Settings that a run has left behind: the last epoch under them, and the point."""

    until: int
    point: Mapping[str, Scalar]


class Stage(StrEnum):
    """Why a trial was run."""

    HEAT = "heat"
    FINAL = "final"
    BENCHMARK = "benchmark"


class Status(StrEnum):
    """How a trial stands."""

    RUNNING = "running"
    COMPLETED = "completed"
    STOPPED = "stopped"
    DIVERGED = "diverged"
    FAILED = "failed"
    OUT_OF_MEMORY = "out_of_memory"

    @property
    def lost(self) -> bool:
        """True when the trial gave no answer for a reason that lies outside the recipe."""
        return self in (Status.FAILED, Status.OUT_OF_MEMORY)

    @property
    def settled(self) -> bool:
        """True when the trial need not be run again; a lost one may be tried once more."""
        return self in (Status.COMPLETED, Status.STOPPED, Status.DIVERGED)


@dataclass(frozen=True, kw_only=True, slots=True)
class Cost:
    """What a trial used up, over all its attempts; what is unknown is None, never 0.

    Of trials that were trained at once it is an even share of what they used together (``TrialRecord.shared``).
    """

    seconds: float | None = None
    cpu_seconds: float | None = None
    gpu_seconds: float | None = None
    joules: float | None = None
    peak_bytes: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialRecord:
    """One trial: what was asked, how it went, what it cost.

    ``metrics`` are the values at the epoch chosen on validation (``best_epoch``), such as ``val/accuracy`` and
    ``test/accuracy``. ``history`` has one row an epoch; a metric that was not measured in an epoch is absent from its row.
    ``node`` is the host name of the machine that ran it, of its first worker when there are several. ``data`` tells what it was
    trained and judged on: equal texts say the same data.

    Where settings change in mid-run, ``earlier`` are those before the point's, in their order. A segment of such a run ends at
    ``until`` and has a ``parent``, the record that it went on from: its history and cost are its own epochs alone.
    """

    id: str
    sweep: str
    task: str
    stage: Stage
    level: Mapping[str, Scalar]
    point: Mapping[str, Scalar]
    seed: int
    status: Status
    reason: str | None = None
    epochs: int = 0
    samples: int = 0
    steps: int = 0
    metrics: Mapping[str, float] = field(default_factory=dict)
    best_epoch: int | None = None
    history: Sequence[Row] = ()
    cost: Cost = Cost()
    lane: str | None = None
    hardware: str | None = None
    data: str | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    source: str | None = None
    error: str | None = None
    number: int | None = None
    started: float | None = None
    ended: float | None = None
    node: str | None = None
    earlier: tuple[Turn, ...] = ()
    until: int | None = None
    parent: str | None = None

    @property
    def shared(self) -> int | None:
        """Among how many trials, trained at once, its costs were shared out in its last epoch; None for one trained alone."""
        found = self.history[-1].get("shared") if self.history else None
        return int(found) if found is not None else None

    @classmethod
    def from_json(cls, line: Mapping[str, Any]) -> Self:
        """Read a ledger line; keys that this version does not know are ignored.

        Raises KeyError when a required key is absent and ValueError for an unknown stage or status.
        """
        known = {name: line[name] for name in _FIELDS if name in line}
        missing = [name for name in _REQUIRED if name not in known]
        if missing:
            raise KeyError(f"a ledger line lacks {', '.join(missing)}")
        for name in _COUNTS:
            if not isinstance(known.get(name, 0), int):
                raise ValueError(f"{name} is {known[name]!r}, not a whole number")
        for name, kind in (("level", dict), ("point", dict), ("metrics", dict), ("history", list), ("earlier", list)):
            if not isinstance(known.get(name, kind()), kind):
                raise ValueError(f"{name} is a {type(known[name]).__name__}, not a {kind.__name__}")
        known["stage"] = Stage(known["stage"])
        known["status"] = Status(known["status"])
        known["earlier"] = tuple(known.get("earlier", ()))
        cost = known.get("cost") or {}
        known["cost"] = Cost(**{name: cost.get(name) for name in _COST_FIELDS})
        return cls(**known)

    def to_json(self) -> dict[str, Any]:
        """The ledger line as plain JSON values; numbers that are not finite become null, since JSON has none."""
        line = {name: getattr(self, name) for name in _FIELDS}
        line["cost"] = {name: getattr(self.cost, name) for name in _COST_FIELDS}
        return {name: _plain(value) for name, value in line.items()}


_FIELDS = tuple(f.name for f in fields(TrialRecord))
_COST_FIELDS = tuple(f.name for f in fields(Cost))
_COUNTS = ("seed", "epochs", "samples", "steps")
_REQUIRED = ("id", "sweep", "task", "stage", "level", "point", "seed", "status")


def _plain(value: Any) -> Any:
    # The kinds that a ledger is full of come first, by their exact type: whether something is a Mapping takes long to ask.
    kind = type(value)
    if value is None or kind is str or kind is int or kind is bool:
        return value
    if kind is float:
        return value if math.isfinite(value) else None
    if kind is dict or isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, StrEnum):
        return value.value
    return _plain(float(value)) if isinstance(value, float) else value
