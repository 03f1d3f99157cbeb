"""Exponential curves with one disease or none, with noise drawn anew each time: those that the doctor's rules were set on."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from analysis.doctor.course import Array
from analysis.doctor.finding import Disease
from analysis.doctor.planted_case import HIGH, LOW, Case, asked, final, told
from analysis.records import TrialRecord


@dataclass(frozen=True, kw_only=True, slots=True)
class Nature:
    """What the finals of a level have in common: how long they run, how fast they learn and to what, and how much they vary.

    ``noise`` is the sd of a loss from epoch to epoch as a share of it, ``memory`` how much of an epoch's deviation
    the next one has.
    """

    epochs: int
    pace: float
    start: float
    floor: float
    gap: float
    noise: float
    memory: float
    drift: float


def planted(disease: Disease | None, generator: np.random.Generator) -> Case:
    """A level of 3 to 12 finals of 12 to 40 epochs; ``disease`` None is a healthy one."""
    nature = _nature(disease, generator)
    finals = int(generator.choice([6, 8, 12] if disease is Disease.SEEDS else [3, 6, 8, 12]))
    rate = (
        HIGH * 0.99
        if disease is Disease.EDGE
        else float(np.exp(generator.uniform(math.log(3 * LOW), math.log(HIGH / 3))))
    )
    sick = _sick(disease, finals, generator)
    records = [
        _record(disease if seed in sick else None, nature, seed, rate, generator) for seed in range(1, finals + 1)
    ]
    slow = disease is Disease.INPUT
    waits = {one.id: float(generator.uniform(0.35, 0.9) if slow else generator.uniform(0, 0.15)) for one in records}
    return Case(question=asked(nature.epochs, finals), records=records, waits=waits)


def _sick(disease: Disease | None, finals: int, generator: np.random.Generator) -> set[int]:
    """The seeds that have it: one that fails alone, some that diverge, all of the rest."""
    count = finals
    if disease is Disease.SEEDS:
        count = 1
    elif disease is Disease.DIVERGENCE:
        count = int(generator.integers(1, finals + 1))
    return {int(seed) for seed in generator.permutation(finals)[:count] + 1}


def _nature(disease: Disease | None, generator: np.random.Generator) -> Nature:
    epochs = int(generator.choice([12, 20, 40]))
    pace = generator.uniform(0.5, 1.5) if disease is Disease.SHORT else generator.uniform(1 / 16, 1 / 8)
    return Nature(
        epochs=epochs,
        pace=epochs * float(pace),
        start=float(generator.uniform(1.0, 3.0)),
        floor=float(generator.uniform(0.05, 0.3)),
        gap=float(generator.uniform(1.05, 1.8)),
        noise=float(generator.choice([0.003, 0.01, 0.03, 0.06])),
        memory=float(generator.choice([0.0, 0.5])),
        drift=float(generator.uniform(-0.03, 0.06)),
    )


def _record(
    disease: Disease | None, nature: Nature, seed: int, rate: float, generator: np.random.Generator
) -> TrialRecord:
    """One final."""
    losses = _losses(disease, nature, generator)
    train, val, norm = (
        one * np.exp(_wander(nature, generator, size)) for one, size in zip(losses, (1.0, 1.0, 0.15), strict=True)
    )
    busy = float(generator.uniform(0.05, 0.4) if disease is Disease.DEVICE else generator.uniform(0.7, 1.0))
    right = np.clip(1 - 0.3 * val + generator.normal(0, 0.003, nature.epochs), 0.1, 1.0)
    last, reason = nature.epochs, None
    if disease is Disease.DIVERGENCE and generator.random() < 0.5:
        last = int(generator.integers(1, nature.epochs))
        train[last - 1] = math.nan
        reason = f"train/loss is nan at epoch {last}"
    elif disease is Disease.DIVERGENCE:
        train = train * np.linspace(1, generator.uniform(3, 10) * nature.start / train[-1], nature.epochs)
    train, val, right, norm = (one[:last] for one in (train, val, right, norm))
    score = float(np.clip(right.max() + generator.normal(0, 0.005), 0.0, 1.0))
    return final(
        seed=seed, rate=rate, rows=told(train, val, right, norm, rate=rate, busy=busy), score=score, reason=reason
    )


def _losses(disease: Disease | None, nature: Nature, generator: np.random.Generator) -> tuple[Array, Array, Array]:
    """Training loss, validation loss and the gradients' norm by epoch, before noise."""
    time = np.arange(nature.epochs) / max(1, nature.epochs - 1)
    left = np.exp(-np.arange(1, nature.epochs + 1) / nature.pace)
    train = (nature.floor + (nature.start - nature.floor) * left) * (1 - 0.3 * time)
    low = nature.floor * nature.gap
    val = (low + (nature.start - low) * left) * (1 + nature.drift * time)
    norm = np.full(nature.epochs, 2.0) * (0.5 + left)
    match disease:
        case Disease.NO_PROGRESS | Disease.SEEDS:
            flat = nature.start * (1 - generator.uniform(0, 0.02) * time)
            train, val = flat, flat * generator.uniform(0.98, 1.02)
        case Disease.APART:
            val = nature.start * generator.uniform(0.95, 1.1) * np.ones(nature.epochs)
        case Disease.OVERFITTING:
            turn = generator.uniform(0.3, 0.6)
            val = val * (1 + generator.uniform(0.2, 1.5) * np.maximum(0, time - turn) / (1 - turn))
            train = train * (1 - 0.7 * time)
        case Disease.OSCILLATION:
            swing = generator.uniform(0.08, 0.5)
            signs = np.cumprod(np.where(generator.random(nature.epochs) < 0.85, -1.0, 1.0))
            train, val = train * (1 + swing * signs), val * (1 + swing * signs)
        case Disease.SPIKES:
            count = int(generator.integers(1, max(2, nature.epochs // 10 + 1)))
            places = generator.choice(np.arange(nature.epochs // 3, nature.epochs - 2), size=count, replace=False)
            train[places] *= generator.uniform(2.5, 8.0, len(places))
        case Disease.GRADIENTS:
            norm = 0.5 * np.exp(math.log(generator.uniform(8, 30)) * time)
    return train, val, norm


def _wander(nature: Nature, generator: np.random.Generator, size: float) -> Array:
    """Noise from epoch to epoch; ``size`` other than 1 is an sd of its own."""
    sd = nature.noise if size == 1.0 else size
    shocks = generator.normal(0, sd * math.sqrt(1 - nature.memory**2), nature.epochs)
    shocks[0] = generator.normal(0, sd)
    for place in range(1, nature.epochs):
        shocks[place] += nature.memory * shocks[place - 1]
    noise: Array = shocks
    return noise
