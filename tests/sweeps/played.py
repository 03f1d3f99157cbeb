"""A sweep played without training: what each trial reaches is a formula of its point."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from analysis.records import Cost, Stage, Status, TrialRecord
from sweeps import Sweep, log_uniform, uniform
from sweeps.engine.job import Job
from sweeps.engine.programme import Programme
from tests.sweeps.small import small
from trainables import SGD
from trainables.describe import Scalar

Outcome = Callable[[Job], TrialRecord]


def record(job: Job, curve: Sequence[float], status: Status = Status.COMPLETED, seconds: float = 1.0) -> TrialRecord:
    """A trial that ended with this curve of validation accuracy; its metric is the best of it."""
    finite = [value for value in curve if math.isfinite(value)]
    return TrialRecord(
        id=job.id,
        sweep="played",
        task="clusters",
        stage=job.stage,
        level=job.level,
        point=job.point,
        seed=job.seed,
        status=status,
        epochs=len(curve),
        metrics={"val/accuracy": max(finite)} if finite else {},
        history=[{"epoch": epoch, "val/accuracy": value} for epoch, value in enumerate(curve, 1)],
        cost=Cost(seconds=seconds),
        number=job.number,
    )


def play(
    sweep: Sweep, outcome: Outcome, *, known: Sequence[TrialRecord] = (), at_once: int = 1, most: int | None = None
) -> list[TrialRecord]:
    """Run the programme to its end, or until ``most`` trials have ended; all records, the known ones first."""
    programme = Programme(sweep, known, spent=lambda: 0.0, concurrency=at_once)
    records, live = list(known), list[Job]()
    while most is None or len(records) - len(known) < most:
        while len(live) < at_once and (job := programme.next()) is not None:
            live.append(job)
        if not live:
            assert programme.done
            break
        ended = outcome(live.pop(0))
        for row in ended.history:
            programme.reported(ended.id, row)
        programme.ended(ended)
        records.append(ended)
    return records


def heats(records: Sequence[TrialRecord]) -> list[TrialRecord]:
    return [one for one in records if one.stage is Stage.HEAT]


def bowl(**changes: Any) -> Sweep:
    """Two numbers searched, no levels, one final."""
    recipe = replace(
        small().recipe, batch_size=16, optimizer=SGD(lr=log_uniform(1e-4, 1.0), momentum=uniform(0.0, 0.98))
    )
    return small(**{"recipe": recipe, "early_stop": None, "seeds": 1, **changes})


def height(point: Mapping[str, Scalar]) -> float:
    """A planted quadratic over the bowl's space, 0.9 at its top."""
    lr, momentum = point["optimizer.lr"], point["optimizer.momentum"]
    assert isinstance(lr, float)
    assert isinstance(momentum, float)
    return 0.9 - ((math.log10(lr) + 1.2) / 4) ** 2 - ((momentum - 0.7) / 0.98) ** 2


def quadratic(job: Job) -> TrialRecord:
    return record(job, [height(job.point)])
