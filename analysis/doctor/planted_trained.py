"""Networks that are trained, well or with one mistake in their recipe: what the doctor is asked about in earnest, on a small scale.

A perceptron with one hidden layer learns to tell clusters apart by stochastic descent with momentum, all finals of a level side by
side. Nothing of its curves is planted but their cause, and no rule of the doctor was set on them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from analysis.doctor.course import Array
from analysis.doctor.finding import Disease
from analysis.doctor.planted_case import Case, asked, final, told
from analysis.records import TrialRecord

INPUTS, CLASSES, HELD = 10, 4, 400
"""Sizes of the task; samples of validation, and as many of test."""

MOMENTUM, WILD = 0.9, 100.0
"""Of the descent; and how many times as large the inputs of a batch are that should not be there."""

Whole = NDArray[np.int64]


class Cause(StrEnum):
    """One mistake, or what looks like one."""

    FAST = "a rate 300 to 3,000 times too high"
    SLOW = "a rate 100,000 to 1,000,000 times too low"
    SHORT = "a third of the epochs at a hundredth of the rate"
    LEARNED = "40 samples, a wide network"
    OTHER = "validation whose classes are named otherwise"
    SORTED = "batches of one class each, at ten times the rate"
    OUTLIERS = "two batches with inputs 100 times as large"
    DEAD = "one final whose weights begin at zero"
    ONCE = "none, but half of the labels drawn by lot and all learned in the first epoch"


EXPECTED: dict[Cause, Sequence[Disease]] = {
    Cause.FAST: (Disease.DIVERGENCE, Disease.NO_PROGRESS, Disease.OSCILLATION),
    Cause.SLOW: (Disease.NO_PROGRESS,),
    Cause.SHORT: (Disease.SHORT,),
    Cause.LEARNED: (Disease.OVERFITTING, Disease.APART),
    Cause.OTHER: (Disease.APART, Disease.OVERFITTING),
    Cause.SORTED: (Disease.OSCILLATION,),
    Cause.OUTLIERS: (Disease.SPIKES, Disease.OSCILLATION),
    Cause.DEAD: (Disease.SEEDS,),
    Cause.ONCE: (),
}
"""The findings that are right, each by itself; where there are none, saying nothing is."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Setup:
    """A recipe and its task: ``spread`` is the distance of the clusters, ``noise`` the share of labels that are wrong."""

    finals: int
    epochs: int
    samples: int
    hidden: int
    batch: int
    rate: float
    spread: float
    noise: float
    decay: float
    cosine: bool = True


@dataclass(kw_only=True, slots=True)
class Level:
    """All finals of a level under way: inputs [F, N, I] and classes [F, N], and for each layer its weights and what moves them."""

    setup: Setup
    cause: Cause | None
    inputs: Array
    classes: Whole
    weights: list[Array]
    moved: list[Array]
    wild: frozenset[int]
    taken: int = 0

    def epoch(self, generator: np.random.Generator) -> dict[str, Array]:
        """Train for an epoch; what a row holds, [F] each, and the accuracy on test."""
        losses, norms = np.zeros(self.setup.finals), np.zeros(self.setup.finals)
        steps = self.setup.samples // self.setup.batch
        for rows in _batches(self.setup, self.cause, self.classes, generator):
            x, y = np.take_along_axis(self.inputs, rows[:, :, None], 1), np.take_along_axis(self.classes, rows, 1)
            loss, gradients = _gradients(self.weights, WILD * x if self.taken in self.wild else x, y)
            share = self.taken / (steps * self.setup.epochs)
            rate = self.setup.rate * (0.5 * (1 + math.cos(math.pi * share)) if self.setup.cosine else 1.0)
            norms += np.sqrt(sum((one**2).sum((1, 2)) for one in gradients))
            for weight, velocity, gradient in zip(self.weights, self.moved, gradients, strict=True):
                velocity *= MOMENTUM
                velocity += gradient + self.setup.decay * weight
                weight -= rate * velocity
            losses += loss
            self.taken += 1
        val, right = self._scored(self.setup.samples)
        _, test = self._scored(self.setup.samples + HELD)
        return {"train": losses / steps, "val": val, "right": right, "norm": norms / steps, "test": test}

    def _scored(self, begin: int) -> tuple[Array, Array]:
        """Mean loss and accuracy, [F] each, on what is held out from there on."""
        x, y = self.inputs[:, begin : begin + HELD], self.classes[:, begin : begin + HELD]
        _, logs = _forward(self.weights, x)
        right: Array = (logs.argmax(2) == y).mean(1)
        return _loss(logs, y), right


def trained(cause: Cause | None, generator: np.random.Generator) -> Case:
    """A level of finals that were trained with one mistake; None makes none."""
    setup = _setup(cause, generator)
    data = [_data(setup, cause, generator) for _ in range(setup.finals)]
    weights = _begun(setup, cause, generator)
    level = Level(
        setup=setup,
        cause=cause,
        inputs=np.stack([inputs for inputs, _ in data]),
        classes=np.stack([classes for _, classes in data]),
        weights=weights,
        moved=[np.zeros_like(one) for one in weights],
        wild=_wild(setup, generator) if cause is Cause.OUTLIERS else frozenset(),
    )
    with np.errstate(all="ignore"):  # some leave the finite
        rows = [level.epoch(generator) for _ in range(setup.epochs)]
    series = {name: np.stack([row[name] for row in rows], axis=1) for name in rows[0]}
    finals = [
        _final(seed, setup, {name: values[seed] for name, values in series.items()}) for seed in range(setup.finals)
    ]
    return Case(question=asked(setup.epochs, setup.finals), records=finals, waits={})


def _setup(cause: Cause | None, generator: np.random.Generator) -> Setup:
    """A sensible recipe, and the mistake."""
    good = Setup(
        finals=int(generator.choice([3, 6, 8])),
        epochs=int(generator.choice([15, 25])),
        samples=int(generator.choice([800, 1600])),
        hidden=int(generator.choice([8, 16])),
        batch=int(generator.choice([16, 32])),
        rate=float(np.exp(generator.uniform(math.log(0.01), math.log(0.05)))),
        spread=float(generator.uniform(1.0, 2.0)),
        noise=float(generator.choice([0.0, 0.05, 0.1])),
        decay=1e-3,
    )
    match cause:
        case Cause.FAST:
            return replace(good, rate=good.rate * float(np.exp(generator.uniform(math.log(300), math.log(3000)))))
        case Cause.SLOW:
            return replace(good, rate=good.rate / float(np.exp(generator.uniform(math.log(1e5), math.log(1e6)))))
        case Cause.SHORT:
            return replace(good, epochs=max(4, good.epochs // 3), rate=good.rate / 100, cosine=False)
        case Cause.LEARNED:
            return replace(good, samples=40, batch=8, hidden=64, decay=0.0, epochs=60, spread=0.4 * good.spread)
        case Cause.OTHER:
            return replace(good, noise=0.0)
        case Cause.SORTED:
            return replace(good, rate=10 * good.rate, cosine=False)
        case Cause.DEAD:
            return replace(good, finals=max(6, good.finals))
        case Cause.ONCE:
            return replace(good, samples=4000, batch=8, epochs=8, rate=0.02, noise=0.5, finals=3)
    return good


def _data(setup: Setup, cause: Cause | None, generator: np.random.Generator) -> tuple[Array, Whole]:
    """Inputs [N, I] and classes [N]: training samples, then those of validation and of test."""
    centres = setup.spread * generator.normal(size=(CLASSES, INPUTS)) / math.sqrt(2)
    classes = generator.integers(CLASSES, size=setup.samples + 2 * HELD)
    inputs = centres[classes] + generator.normal(size=(len(classes), INPUTS))
    wrong = generator.random(len(classes)) < setup.noise
    named = np.where(wrong, generator.integers(CLASSES, size=len(classes)), classes)
    if cause is Cause.OTHER:
        named[setup.samples :] = (named[setup.samples :] + 1) % CLASSES
    return inputs, named


def _begun(setup: Setup, cause: Cause | None, generator: np.random.Generator) -> list[Array]:
    """Weights of both layers for each final, [F, in + 1, out]; the last row is the bias."""
    first = generator.normal(size=(setup.finals, INPUTS + 1, setup.hidden)) * math.sqrt(2 / INPUTS)
    second = generator.normal(size=(setup.finals, setup.hidden + 1, CLASSES)) * math.sqrt(1 / setup.hidden)
    first[:, -1], second[:, -1] = 0.0, 0.0
    if cause is Cause.DEAD:
        first[0], second[0] = 0.0, 0.0
    return [first, second]


def _batches(setup: Setup, cause: Cause | None, classes: Whole, generator: np.random.Generator) -> Sequence[Whole]:
    """Indices of the training samples, [F, B] for each step of an epoch."""
    steps = setup.samples // setup.batch
    keys = generator.random((setup.finals, setup.samples))
    if cause is Cause.SORTED:
        keys += classes[:, : setup.samples]
    order = np.argsort(keys, axis=1)[:, : steps * setup.batch].reshape(setup.finals, steps, setup.batch)
    places = np.argsort(
        generator.random((setup.finals, steps)), axis=1
    )  # batches of one class each do not come class by class
    return list(np.take_along_axis(order, places[:, :, None], 1).swapaxes(0, 1))


def _wild(setup: Setup, generator: np.random.Generator) -> frozenset[int]:
    """Two steps, each somewhere in an epoch of its own, neither among the first nor the last."""
    steps = setup.samples // setup.batch
    epochs = generator.choice(np.arange(3, setup.epochs - 3), size=2, replace=False)
    return frozenset(int(epoch) * steps + int(generator.integers(steps)) for epoch in epochs)


def _forward(weights: Sequence[Array], x: Array) -> tuple[Array, Array]:
    """Hidden values [F, B, H] and the logarithms of probabilities [F, B, C]."""
    first, second = weights
    hidden = np.maximum(0.0, x @ first[:, :-1] + first[:, -1:])
    logits = hidden @ second[:, :-1] + second[:, -1:]
    shifted = logits - logits.max(2, keepdims=True)
    return hidden, shifted - np.log(np.exp(shifted).sum(2, keepdims=True))


def _gradients(weights: Sequence[Array], x: Array, y: Whole) -> tuple[Array, list[Array]]:
    """Mean loss [F] of a batch, and its gradients as the weights have them."""
    hidden, logs = _forward(weights, x)
    back = (np.exp(logs) - np.eye(CLASSES)[y]) / y.shape[1]
    inner = (back @ weights[1][:, :-1].swapaxes(1, 2)) * (hidden > 0)
    parts = ((x, inner), (hidden, back))
    found = [np.concatenate([a.swapaxes(1, 2) @ b, b.sum(1, keepdims=True)], axis=1) for a, b in parts]
    return _loss(logs, y), found


def _loss(logs: Array, y: Whole) -> Array:
    """Mean cross-entropy [F]."""
    found: Array = -np.take_along_axis(logs, y[:, :, None], 2)[:, :, 0].mean(1)
    return found


def _final(place: int, setup: Setup, series: dict[str, Array]) -> TrialRecord:
    """A final as the ledger has it: it ends at the first epoch whose loss is not finite."""
    wild = np.flatnonzero(~(np.isfinite(series["train"]) & np.isfinite(series["val"])))
    last = int(wild[0]) + 1 if len(wild) else setup.epochs
    columns = [series[name][:last] for name in ("train", "val", "right", "norm")]
    best = int(np.argmax(columns[2]))
    return final(
        seed=place + 1,
        rate=3e-3,
        rows=told(*columns, rate=setup.rate, busy=0.9),
        score=float(series["test"][best]),
        reason=f"train/loss is nan at epoch {last}" if len(wild) else None,
    )
