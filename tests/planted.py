"""Planted sweeps: folders as a sweep writes them, with scores that the test chooses."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from analysis.records import Cost, Scalar, Stage, Status, TrialRecord

SOURCES = ("init", "order", "split", "init + order + split")
"""What the seeds of a sweep over the sources of spread draw."""


def planted_question(
    levels: Sequence[Scalar], *, seeds: int, target: float | None = 0.9, mode: str = "max"
) -> dict[str, object]:
    """A ``sweep.json`` with one factor, ``batch_size``."""
    return {
        "format": 1,
        "sweep": "planted",
        "task": "digits",
        "goal": {"metric": "accuracy", "mode": mode, "target": target},
        "factors": [{"path": "batch_size", "levels": list(levels)}],
        "space": {"optimizer.lr": "log_uniform(0.0001, 0.03)"},
        "search": "TPE(trials=4)",
        "early_stop": "ASHA(grace=2, factor=3)",
        "trials": 4,
        "seeds": seeds,
        "seed": 0,
        "vary": ["init", "order", "split"],
        "epochs": 6,
        "recipe": {"model": "MLP(widths=(128, 128))", "optimizer.weight_decay": 0.01, "epochs": 6},
        "differences": [{"path": "average", "default": "none", "value": "EMA(decay=0.99)"}],
        "source": "0123456789ab",
        "versions": {"python": "3.11.7", "torch": "2.13.0", "ray": "2.60.0"},
        "hardware": {"cpu": "planted CPU", "cores": 2, "memory_bytes": 25_000_000_000, "gpus": []},
        "command": "python sweeps/planted.py",
        "lane": "solo",
        "concurrency": 2,
        "threads": 1,
        "created": 1_790_000_000.0,
        "tracking": None,
    }


def planted_record(
    *,
    level: Scalar,
    stage: Stage,
    seed: int,
    number: int,
    score: float,
    status: Status = Status.COMPLETED,
    lr: float = 1e-3,
    epochs: int = 6,
    seconds: float = 1.0,
    reason: str | None = None,
) -> TrialRecord:
    """A trial whose validation and test accuracy climb to ``score`` at its last epoch."""
    history = []
    for epoch in range(1, epochs + 1):
        reached = score * (1.0 - 0.5 * math.exp(-1.5 * (epoch - 1))) if epoch < epochs else score
        history.append(
            {
                "epoch": epoch,
                "step": epoch * 10,
                "samples": epoch * 1000,
                "seconds": seconds * epoch / epochs,
                "lr": lr * (1 - epoch / (epochs + 1)),
                "train/loss": 2.0 * math.exp(-0.5 * epoch),
                "val/loss": 2.1 * math.exp(-0.45 * epoch),
                "val/accuracy": reached,
                "test/loss": 2.1 * math.exp(-0.45 * epoch),
                "test/accuracy": reached,
            }
        )
    last = history[-1] if history else {}
    return TrialRecord(
        id=f"{stage.value[0]}{number:05d}",
        sweep="planted",
        task="digits",
        stage=stage,
        level={"batch_size": level},
        point={"batch_size": level, "optimizer.lr": lr},
        seed=seed,
        status=status,
        reason=reason,
        epochs=epochs,
        samples=epochs * 1000,
        steps=epochs * 10,
        metrics={name: value for name, value in last.items() if name.startswith(("val/", "test/"))},
        best_epoch=epochs or None,
        history=history,
        cost=Cost(seconds=seconds, cpu_seconds=1.1 * seconds, peak_bytes=300_000_000),
        lane="solo",
        hardware="planted CPU",
        versions={"torch": "2.13.0"},
        source="0123456789ab",
        error="Traceback (most recent call last):\n  <planted>\nValueError: planted" if status.lost else None,
        number=number,
        started=1_790_000_000.0 + number,
        ended=1_790_000_001.0 + number,
    )


def planted_records(
    scores: Mapping[Scalar, Sequence[float]],
    *,
    heats: int = 4,
    seconds: Mapping[Scalar, Sequence[float]] | None = None,
    diverged: Sequence[tuple[Scalar, int]] = (),
    failed: Sequence[tuple[Scalar, int]] = (),
) -> list[TrialRecord]:
    """Heats of each level, then finals whose test accuracies are ``scores[level][seed - 1]``."""
    records, number = [], 0
    generator = np.random.default_rng(0)
    for level, values in scores.items():
        for heat in range(heats):
            lr = float(10 ** generator.uniform(-4, -1.5))
            stopped = heat % 2 == 1
            records.append(
                planted_record(
                    level=level,
                    stage=Stage.HEAT,
                    seed=0,
                    number=number,
                    score=float(np.mean(values)) - 0.05 * generator.random(),
                    status=Status.STOPPED if stopped else Status.COMPLETED,
                    reason="below the cut at epoch 2" if stopped else None,
                    epochs=2 if stopped else 6,
                    lr=lr,
                )
            )
            number += 1
    for index in range(max(len(values) for values in scores.values())):
        for level, values in scores.items():
            seed = index + 1
            status, reason = Status.COMPLETED, None
            if (level, seed) in diverged:
                status, reason = Status.DIVERGED, "train/loss is nan at epoch 3"
            if (level, seed) in failed:
                status, reason = Status.FAILED, "ValueError: planted"
            records.append(
                planted_record(
                    level=level,
                    stage=Stage.FINAL,
                    seed=seed,
                    number=number,
                    score=values[index],
                    status=status,
                    reason=reason,
                    seconds=1.0 if seconds is None else seconds[level][index],
                )
            )
            number += 1
    return records


def planted_scaling_question(
    workers: Sequence[int] = (1, 2), *, seeds: int = 8, batches: Sequence[Scalar] = (256, "PerWorker(samples=128)")
) -> dict[str, object]:
    """A ``sweep.json`` that compares batches and numbers of workers, without a search."""
    factors = [{"path": "batch_size", "levels": list(batches)}, {"path": "resources.workers", "levels": list(workers)}]
    return planted_question([], seeds=seeds, target=None) | {
        "factors": factors,
        "levels": [{"batch_size": b, "resources.workers": w} for b in batches for w in workers],
        "space": {},
        "search": "None",
        "early_stop": "None",
        "trials": 0,
        "lane": "crew",
        "concurrency": 1,
        "recipe": {"model": "MLP", "batch_size": f"each({', '.join(map(str, batches))})", "epochs": 6},
    }


def planted_scaling(
    speed_ups: Mapping[tuple[Scalar, int], float],
    *,
    seeds: int = 8,
    noise: float = 0.01,
    share: Mapping[tuple[Scalar, int], int] | None = None,
    scores: Mapping[tuple[Scalar, int], float] | None = None,
    epochs: int = 6,
    joules: float | None = None,
    seed: int = 0,
) -> list[TrialRecord]:
    """Finals by (batch, workers), whose true throughput is 20,000 samples a second times the speed-up.

    An epoch has 1,078 samples and steps of the batch, 128 times the workers for a text, or what ``share`` says. The first one takes
    half a second more, CUDA's or a cold worker's. ``noise`` is the sd of a run's logarithm of time, beside one that all levels of
    a seed have in common.
    """
    generator = np.random.default_rng(seed)
    records: list[TrialRecord] = []
    for number in range(seeds):
        common = generator.normal(0, 0.05)
        for (batch, workers), speed_up in speed_ups.items():
            size = (share or {}).get((batch, workers)) or (batch if isinstance(batch, int) else 128 * workers)
            seconds = 1078 / (20_000 * speed_up) * math.exp(common + generator.normal(0, noise))
            score = (scores or {}).get((batch, workers), 0.97) + generator.normal(0, 0.004)
            history = [
                {
                    "epoch": epoch,
                    "step": epoch * math.ceil(1078 / size),
                    "samples": epoch * 1078,
                    "seconds": 0.5 + epoch * seconds,
                    "cpu_seconds": 0.6 + 1.2 * workers * epoch * seconds,
                    "peak_bytes": 400_000_000 + 1_000_000 * workers,
                    "val/accuracy": score - 0.1 / epoch,
                    "test/accuracy": score,
                }
                for epoch in range(1, epochs + 1)
            ]
            records.append(
                TrialRecord(
                    id=f"f{len(records):05d}",
                    sweep="planted",
                    task="digits",
                    stage=Stage.FINAL,
                    level={"batch_size": batch, "resources.workers": workers},
                    point={"batch_size": batch, "resources.workers": workers},
                    seed=number + 1,
                    status=Status.COMPLETED,
                    epochs=epochs,
                    samples=epochs * 1078,
                    steps=epochs * math.ceil(1078 / size),
                    metrics={"val/accuracy": score - 0.1 / epochs, "test/accuracy": score},
                    best_epoch=epochs,
                    history=history,
                    cost=Cost(
                        seconds=0.5 + epochs * seconds, peak_bytes=400_000_000 + 1_000_000 * workers, joules=joules
                    ),
                    lane="crew",
                    hardware="planted CPU",
                    versions={"torch": "2.13.0"},
                    source="0123456789ab",
                    number=len(records),
                    started=1_790_000_000.0 + len(records),
                    ended=1_790_000_001.0 + len(records),
                )
            )
    return records


def planted_spread_question(seeds: int = 16, levels: Sequence[str] = SOURCES) -> dict[str, object]:
    """A ``sweep.json`` that compares what the seeds draw, without a search."""
    return planted_question([], seeds=seeds, target=None) | {
        "sweep": "seeds",
        "factors": [{"path": "vary", "levels": list(levels)}],
        "levels": [{"vary": level} for level in levels],
        "space": {},
        "search": "None",
        "early_stop": "None",
        "trials": 0,
        "lane": "fused",
        "recipe": {"model": "MLP", "epochs": 6},
    }


def planted_spread(
    sds: Sequence[float] = (0.005, 0.003, 0.012),
    *,
    seeds: int = 16,
    luck: float = 0.0,
    diverged: Sequence[tuple[str, int]] = (),
    levels: Sequence[str] = SOURCES,
) -> list[TrialRecord]:
    """Finals by what they draw; initialisation, order and split each add their own, of these sds, to 0.95.

    ``luck`` is the sd of what every run has beside, drawn anew by each.
    """
    generator = np.random.default_rng(3)
    records: list[TrialRecord] = []
    for seed in range(1, seeds + 1):
        parts = dict(zip(SOURCES, generator.normal(0, sds), strict=False))
        for level in levels:
            score = 0.95 + sum(parts[name] for name in level.split(" + ")) + generator.normal(0, luck)
            status = Status.DIVERGED if (level, seed) in diverged else Status.COMPLETED
            record = planted_record(
                level=level, stage=Stage.FINAL, seed=seed, number=len(records), score=score, status=status
            )
            records.append(replace(record, level={"vary": level}, point={"vary": level}, lane="fused"))
    return records


def planted_folder(folder: Path, records: Sequence[TrialRecord], question: Mapping[str, object]) -> Path:
    """Write ``sweep.json`` and ``trials.jsonl`` as a sweep does."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sweep.json").write_text(json.dumps(question, indent=1))
    lines = [json.dumps(record.to_json()) for record in records]
    (folder / "trials.jsonl").write_text("".join(line + "\n" for line in lines))
    return folder
