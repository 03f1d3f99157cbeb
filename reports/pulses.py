"""How far the epochs of trials under way have come, as the trials themselves say it where an epoch lasts long."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path

from reports.curves import number


@dataclass(frozen=True, kw_only=True, slots=True)
class Pulse:
    """One trial: ``part`` of ``epoch`` is done, between 0 and 1; its mean loss so far, its rate, the seconds of all its steps."""

    epoch: int
    part: float
    loss: float | None
    lr: float | None
    seconds: float | None
    validating: bool


def pulse(folder: Path, record_id: str) -> Pulse | None:
    """The last word of a trial in its epoch; None where it has said none, or it cannot be read."""
    try:
        told = json.loads(_place(folder, record_id).read_bytes())
        done, of, step = number(told["done"]), number(told["of"]), number(told.get("step_seconds"))
        return Pulse(
            epoch=int(told["epoch"]),
            part=min(done / of, 1.0) if done is not None and of else 0.0,
            loss=number(told.get("loss")),
            lr=number(told.get("lr")),
            seconds=step * of if step is not None and of else None,
            validating=told.get("validating") is True,
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def spoke(folder: Path, record_id: str) -> float | None:
    """Seconds since a trial has last said how far it is; None where it has said nothing."""
    try:
        return time.time() - _place(folder, record_id).stat().st_mtime
    except OSError:
        return None


def _place(folder: Path, record_id: str) -> Path:
    return folder / "checkpoints" / record_id / "pulse.json"
