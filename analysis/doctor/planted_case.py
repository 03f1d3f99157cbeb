"""A planted sweep as the ledger would have it: the finals of one level, and the question that they answer."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from analysis.doctor.course import Array
from analysis.doctor.finding import Disease
from analysis.ledger import Goal, Question
from analysis.records import Row, Stage, Status, TrialRecord

LOW, HIGH = 1e-4, 1e-1
"""The ends of the searched learning rates."""

CORES = 4
"""Threads of a run."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """One level of a sweep as the doctor is given it."""

    question: Question
    records: Sequence[TrialRecord]
    waits: Mapping[str, float]


Planter = Callable[["Disease | None", np.random.Generator], Case]
"""Plants a sweep with one disease, or a healthy one for None."""


def asked(epochs: int, finals: int) -> Question:
    """What a planted sweep of one level has asked."""
    raw: dict[str, Any] = {
        "space": {"optimizer.lr": f"log_uniform({LOW:g}, {HIGH:g})"},
        "recipe": {
            "epochs": epochs,
            "clip": "ClipNorm",
            "clip.norm": 1000.0,
            "optimizer.weight_decay": 0.01,
            "schedule.warmup": 0.0,
        },
        "resources": {"workers": 1, "cpus": CORES},
        "trials": 0,
    }
    return Question(
        sweep="planted",
        task="planted",
        goal=Goal(metric="accuracy", mode="max"),
        factors={},
        seeds=finals,
        varied=("init", "order", "split"),
        raw=raw,
    )


def told(train: Array, val: Array, right: Array, norm: Array, *, rate: float, busy: float) -> list[Row]:
    """The rows of a history, all [epochs]; what is not finite is None, and ``busy`` the share of its cores that a run uses."""
    columns = {"train/loss": train, "val/loss": val, "val/accuracy": right, "train/grad_norm": norm}
    return [
        {
            "epoch": epoch + 1,
            "seconds": 2.0 * (epoch + 1),
            "wall_seconds": 2.2 * (epoch + 1),
            "cpu_seconds": 2.2 * CORES * busy * (epoch + 1),
            "lr": rate,
            **{
                name: float(values[epoch]) if math.isfinite(values[epoch]) else None for name, values in columns.items()
            },
        }
        for epoch in range(len(train))
    ]


def final(*, seed: int, rate: float, rows: Sequence[Row], score: float, reason: str | None = None) -> TrialRecord:
    """A final with its test ``score``; one with a ``reason`` has diverged. Its best epoch is the first at the best accuracy."""
    right = [row["val/accuracy"] if row["val/accuracy"] is not None else -math.inf for row in rows]
    best = int(np.argmax(right))
    return TrialRecord(
        id=f"f{seed:05d}",
        sweep="planted",
        task="planted",
        stage=Stage.FINAL,
        level={},
        point={"optimizer.lr": rate},
        seed=seed,
        status=Status.COMPLETED if reason is None else Status.DIVERGED,
        reason=reason,
        epochs=len(rows),
        metrics={"val/accuracy": rows[best]["val/accuracy"] or 0.0, "test/accuracy": score},
        best_epoch=best + 1,
        history=rows,
    )
