"""Curves by power laws, with one disease or none: a family on which no rule of the doctor was set.

Losses fall as (1 + epoch / t)^-a to a floor, with steps of a schedule; noise has heavy tails, and each final its own exponent and
floor. What is healthy and what is ill is told from the curves without noise, with a gap between the two.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from analysis.doctor.course import Array
from analysis.doctor.finding import Disease
from analysis.doctor.planted_case import HIGH, LOW, Case, asked, final, told
from analysis.records import TrialRecord

CHANCE = 0.1
"""Accuracy of one answer to everything."""

FLAT, FALLING = 0.025, 0.09
"""What the last fifth of the epochs takes off a validation loss that is through, at most, and off one that is not, at least."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Law:
    """What the finals of a level have in common; ``noise`` is the scale of a t-distribution with 4 degrees of freedom."""

    epochs: int
    start: float
    floor: float
    power: float
    scale: float
    gap: float
    steps: tuple[float, ...]
    noise: float
    apart: float
    samples: int


def planted(disease: Disease | None, generator: np.random.Generator) -> Case:
    """A level of 3 to 10 finals of 10 to 60 epochs; ``disease`` None is a healthy one."""
    law = _law(disease, generator)
    finals = int(generator.choice([5, 7, 10] if disease is Disease.SEEDS else [3, 4, 7, 10]))
    end = float(generator.choice([LOW * 1.01, HIGH / 1.01]))
    rate = end if disease is Disease.EDGE else float(np.exp(generator.uniform(math.log(2 * LOW), math.log(HIGH / 2))))
    some = int(generator.integers(1, finals + 1))
    count = 1 if disease is Disease.SEEDS else some if disease is Disease.DIVERGENCE else finals
    records = [_record(disease if place < count else None, law, place + 1, rate, generator) for place in range(finals)]
    low, high = (0.3, 0.95) if disease is Disease.INPUT else (0.0, 0.2)
    waits = {one.id: float(generator.uniform(low, high)) for one in records}
    return Case(question=asked(law.epochs, finals), records=records, waits=waits)


def _law(disease: Disease | None, generator: np.random.Generator) -> Law:
    """Drawn until the curve without noise is through at its end, or where that is the disease, is not."""
    while True:
        law = Law(
            epochs=int(generator.choice([10, 15, 30, 60])),
            start=float(np.exp(generator.uniform(math.log(0.5), math.log(8.0)))),
            floor=float(generator.uniform(0.02, 0.5)),
            power=float(generator.uniform(0.5, 3.0)),
            scale=float(np.exp(generator.uniform(math.log(0.3), math.log(5.0)))),
            gap=float(generator.uniform(1.0, 1.5)),
            steps=(0.6, 0.85) if generator.random() < 0.5 else (),
            noise=float(np.exp(generator.uniform(math.log(0.002), math.log(0.04)))),
            apart=float(generator.uniform(0.0, 0.1)),
            samples=int(generator.choice([200, 1000, 5000])),
        )
        taken = _taken_off(law.gap * _falling(law, law.power, law.floor))
        if (taken > FALLING) if disease is Disease.SHORT else (taken < FLAT):
            return law


def _taken_off(losses: Array) -> float:
    """By how much the mean of the last fifth of the epochs lies below that of the fifth before."""
    part = max(1, len(losses) // 5)
    return 1 - float(losses[-part:].mean() / losses[-2 * part : -part].mean())


def _falling(law: Law, power: float, floor: float) -> Array:
    """A loss by epoch, without noise."""
    epochs = np.arange(1, law.epochs + 1)
    left = (1 + epochs / law.scale) ** -power
    for step in law.steps:
        left = np.where(epochs > step * law.epochs, 0.6 * left, left)
    found: Array = law.start * (floor + (1 - floor) * left)
    return found


def _record(disease: Disease | None, law: Law, seed: int, rate: float, generator: np.random.Generator) -> TrialRecord:
    """One final."""
    own = np.exp(law.apart * generator.normal(size=2))
    train = _falling(law, law.power * own[0], law.floor * own[1])
    val, norm = law.gap * train, 3.0 * (train / law.start) ** 0.5
    train, val, norm = _ill(disease, law, (train, val, norm), generator)
    shocks = law.noise * generator.standard_t(4, size=(2, law.epochs))
    train, val = train * np.exp(shocks[0]), val * np.exp(shocks[1])
    norm = norm * np.exp(0.25 * generator.normal(size=law.epochs))
    # Accuracy goes with the loss; of one that never falls it is chance.
    wrong = np.minimum(1.0, val / (law.gap * law.start))
    likely = np.clip(1 - (1 - CHANCE) * wrong, CHANCE, 1.0)
    right = generator.binomial(law.samples, np.nan_to_num(likely, nan=CHANCE)) / law.samples
    last, reason = law.epochs, None
    if disease is Disease.DIVERGENCE and generator.random() < 0.5:
        last = int(generator.integers(1, law.epochs))
        train[last - 1] = math.inf
        reason = f"train/loss is inf at epoch {last}"
    rows = told(
        *(one[:last] for one in (train, val, right, norm)),
        rate=rate,
        busy=float(generator.uniform(0.05, 0.45) if disease is Disease.DEVICE else generator.uniform(0.6, 1.0)),
    )
    score = float(generator.binomial(law.samples, likely[int(np.argmax(right[:last]))]) / law.samples)
    return final(seed=seed, rate=rate, rows=rows, score=score, reason=reason)


def _ill(
    disease: Disease | None, law: Law, curves: tuple[Array, Array, Array], generator: np.random.Generator
) -> tuple[Array, Array, Array]:
    """Training loss, validation loss and norm of a final that has this disease."""
    train, val, norm = curves
    epochs = np.arange(1, law.epochs + 1)
    time = epochs / law.epochs
    match disease:
        case Disease.DIVERGENCE:
            turn = generator.uniform(0.2, 0.7)
            up = np.maximum(0.0, time - turn) / (1 - turn)
            train = train + (generator.uniform(2, 20) * law.start) * up**0.5
            val = val + law.gap * (train - curves[0])
        case Disease.NO_PROGRESS | Disease.SEEDS:
            train = law.start * np.exp(np.cumsum(generator.normal(0, 0.002, law.epochs)))
            val = law.gap * law.start * np.exp(np.cumsum(generator.normal(0, 0.002, law.epochs)))
        case Disease.APART:
            low = generator.uniform(0.05, 0.4)
            train = train[0] * (low + (1 - low) * (train - train[-1]) / (train[0] - train[-1]))
            val = law.gap * law.start * np.exp(generator.uniform(-0.03, 0.07) * np.log(epochs) / math.log(law.epochs))
        case Disease.OSCILLATION:
            swing = np.cos(2 * math.pi * epochs / generator.uniform(2.0, 4.0) + generator.uniform(0, 2 * math.pi))
            size = generator.uniform(0.15, 0.5)
            train, val = train * np.exp(size * swing), val * np.exp(size * swing)
        case Disease.GRADIENTS:
            norm = 0.3 * np.exp(generator.uniform(1.2, 2.5) * np.log(epochs))
        case Disease.OVERFITTING:
            turn = generator.uniform(0.2, 0.6)
            risen = generator.uniform(0.25, 1.5) * (np.maximum(0.0, time - turn) / (1 - turn)) ** generator.uniform(
                0.7, 1.5
            )
            train, val = train * (1 - 0.8 * time), val * (1 + risen)
        case Disease.SPIKES:
            for place in generator.choice(
                np.arange(2, law.epochs - 2), size=min(3, 1 + law.epochs // 20), replace=False
            ):
                height = generator.uniform(1.0, 6.0)
                train[place] *= 1 + height
                train[place + 1] *= 1 + 0.15 * height
    return train, val, norm
