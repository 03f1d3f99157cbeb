"""Every loss with data that fits it, and what it is by definition, in plain arithmetic."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from typing import Any

import torch
from torch import Tensor

from trainables.losses import (
    BinaryCrossEntropy,
    Constraint,
    CrossEntropy,
    Focal,
    Huber,
    Loss,
    MeanSquaredError,
    Quantile,
    SampleWeighted,
    Sum,
    TemporalDifference,
)

B, C, T = 7, 4, 5
CLASSES = torch.tensor([0, 3, 1, 1, 2, 3, 0])
TOKENS = torch.arange(B * T).reshape(B, T) * 7 % 5 % C
TOKENS[2] = 1  # a sample that CrossEntropy(ignore=1) leaves out altogether
YES = torch.tensor([[0, 1, 1], [1, 0, 0], [1, 1, 1], [0, 0, 0], [1, 0, 1], [0, 1, 0], [0, 0, 1]])
REAL = torch.sin(torch.arange(B * 3, dtype=torch.float64)).reshape(B, 3) * 2
IMPORTANCE = torch.tensor([1.0, 0.5, 2.0, 0.0, 1.0, 3.0, 0.25], dtype=torch.float64)
WEIGHTS = (0.5, 2.0, 1.0, 0.0)

Value = Callable[[Any, Any], tuple[float, float]]
"""One sample's output and target, as lists -> its weighted value and its weight, by plain arithmetic."""


def noise(*shape: int) -> Tensor:
    """Logits that repeat nothing and stay away from the corners of Huber's and the pinball loss."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(4), dtype=torch.float64)


def softmax(logits: list[float]) -> list[float]:
    whole = sum(math.exp(z) for z in logits)
    return [math.exp(z) / whole for z in logits]


def sigmoid(z: float) -> float:
    return 1 / (1 + math.exp(-z))


def huber(error: float, delta: float) -> float:
    return error**2 / 2 if abs(error) <= delta else delta * (abs(error) - delta / 2)


def cross_entropy(smoothing: float = 0.0, weights: tuple[float, ...] = (1.0,) * C, ignore: int | None = None) -> Value:
    def of_position(logits: list[float], true: int) -> tuple[float, float]:
        if true == ignore:
            return 0.0, 0.0
        wanted = [smoothing / C + (1 - smoothing) * (c == true) for c in range(C)]
        logs = [math.log(p) for p in softmax(logits)]
        return -sum(w * y * log for w, y, log in zip(weights, wanted, logs, strict=True)), weights[true]

    def of_sample(output: Any, target: Any) -> tuple[float, float]:
        if isinstance(target, int):
            return of_position(output, target)
        positions = [
            of_position(list(logits), true) for logits, true in zip(zip(*output, strict=True), target, strict=True)
        ]
        return sum(value for value, _ in positions), sum(weight for _, weight in positions)

    return of_sample


def averaged(of_value: Callable[[Any, Any], float]) -> Value:
    """The mean over a sample's values; each sample counts 1."""

    def of_sample(output: Any, target: Any) -> tuple[float, float]:
        pairs = list(zip(output, target, strict=True))
        return sum(of_value(a, b) for a, b in pairs) / len(pairs), 1.0

    return of_sample


def binary(z: float, y: float, positive_weight: float = 1.0, smoothing: float = 0.0) -> float:
    wanted = y * (1 - smoothing) + smoothing / 2
    return -positive_weight * wanted * math.log(sigmoid(z)) - (1 - wanted) * math.log(1 - sigmoid(z))


def focal(logits: list[float], true: int, gamma: float, alpha: tuple[float, ...] = (1.0,) * C) -> float:
    p = softmax(logits)[true]
    return -alpha[true] * math.pow(1 - p, gamma) * math.log(p)


def binary_focal(z: float, y: int, gamma: float, alpha: tuple[float, float]) -> float:
    p = sigmoid(z) if y else 1 - sigmoid(z)
    return -alpha[y] * math.pow(1 - p, gamma) * math.log(p)


def answers(positive_weight: float | None, smoothing: float) -> Value:
    return averaged(lambda z, y: binary(z, y, positive_weight or 1.0, smoothing))


def one_class(gamma: float, alpha: tuple[float, ...] | None) -> Value:
    return lambda z, y: (focal(z, y, gamma, alpha or (1.0,) * C), 1.0)


def yes_or_no(gamma: float, alpha: float | None) -> Value:
    return averaged(lambda z, y: binary_focal(z, y, gamma, (1.0, 1.0) if alpha is None else (1 - alpha, alpha)))


def pinball(error: float, level: float) -> float:
    return level * error if error > 0 else (level - 1) * error


def rules(output: Any, _: Any) -> tuple[float, float]:
    """Two groups of four cells each, of logits [C, 5 cells]."""
    cells = [softmax(list(logits)) for logits in zip(*output, strict=True)]
    counts = [sum(cells[cell][digit] for cell in group) for group in ((0, 1, 2, 3), (1, 2, 3, 4)) for digit in range(C)]
    return sum((count - 1) ** 2 for count in counts) / len(counts), 1.0


RULES = Constraint(groups=((0, 1, 2, 3), (1, 2, 3, 4)))


def summed(output: Any, target: Any) -> tuple[float, float]:
    """Tokens that are ignored count in neither part: a sample's rules count as often as its tokens do."""
    (first, counted), (then, _) = cross_entropy(0.1, ignore=1)(output, target), rules(output, target)
    return first + 0.5 * counted * then, counted


def weighted(value: Value) -> Value:
    def of_sample(output: Any, target: Any) -> tuple[float, float]:
        *bare, own = target
        first, counts = value(output, [int(t) for t in bare] if len(bare) > 1 else int(bare[0]))
        return own * first, own * counts

    return of_sample


@dataclass(frozen=True, kw_only=True)
class Case:
    """A loss with data that fits it, and what it is by definition."""

    loss: Loss
    output: Tensor
    target: Tensor
    value: Value
    outputs: int = C

    def __str__(self) -> str:
        return f"{self.loss}"[:70] + f" of {tuple(self.output.shape)}"


CASES = [
    Case(loss=CrossEntropy(), output=noise(B, C), target=CLASSES, value=cross_entropy()),
    *(
        Case(
            loss=CrossEntropy(smoothing=smoothing, class_weights=weights, ignore=ignore),
            output=noise(*shape),
            target=target,
            value=cross_entropy(smoothing, weights or (1.0,) * C, ignore),
            outputs=C,
        )
        for smoothing, weights, ignore, (shape, target) in product(
            (0.0, 0.1), (None, WEIGHTS), (None, 1), (((B, C), CLASSES), ((B, C, T), TOKENS))
        )
        if smoothing or weights or ignore or target is TOKENS
    ),
    Case(
        loss=MeanSquaredError(),
        output=noise(B, 3),
        target=REAL,
        value=averaged(lambda a, b: (a - b) ** 2),
        outputs=3,
    ),
    Case(
        loss=Huber(delta=0.7),
        output=noise(B, 3),
        target=REAL,
        value=averaged(lambda a, b: huber(a - b, 0.7)),
        outputs=3,
    ),
    *(
        Case(
            loss=BinaryCrossEntropy(positive_weight=positive_weight, smoothing=smoothing),
            output=noise(B, 3),
            target=YES,
            value=answers(positive_weight, smoothing),
            outputs=3,
        )
        for positive_weight, smoothing in product((None, 3.0), (0.0, 0.2))
    ),
    *(
        Case(
            loss=Focal(gamma=gamma, alpha=alpha),
            output=noise(B, C),
            target=CLASSES,
            value=one_class(gamma, alpha),
        )
        for gamma, alpha in product((0.0, 0.5, 2.0), (None, WEIGHTS))
    ),
    Case(
        loss=Focal(gamma=2.0),
        output=noise(B, C, T),
        target=TOKENS,
        value=lambda z, y: averaged(lambda a, b: focal(list(a), b, 2.0))(list(zip(*z, strict=True)), y),
    ),
    *(
        Case(
            loss=Focal(gamma=gamma, alpha=alpha, binary=True),
            output=noise(B, 3),
            target=YES,
            value=yes_or_no(gamma, alpha),
            outputs=3,
        )
        for gamma, alpha in product((0.5, 2.0), (None, 0.25))
    ),
    Case(
        loss=Quantile(levels=(0.1, 0.5, 0.9)),
        output=noise(B, 3, 3),
        target=REAL,
        value=averaged(
            lambda z, y: sum(pinball(y - q, level) for q, level in zip(z, (0.1, 0.5, 0.9), strict=True)) / 3
        ),
        outputs=9,
    ),
    Case(
        loss=Quantile(levels=(0.2, 0.8)),
        output=noise(B, 2),
        target=REAL[:, 0],
        value=lambda z, y: (sum(pinball(y - q, level) for q, level in zip(z, (0.2, 0.8), strict=True)) / 2, 1.0),
        outputs=2,
    ),
    Case(loss=RULES, output=noise(B, C, T), target=TOKENS, value=rules),
    Case(
        loss=Sum(CrossEntropy(smoothing=0.1, ignore=1), RULES, 0.5),
        output=noise(B, C, T),
        target=TOKENS,
        value=summed,
    ),
    Case(
        loss=TemporalDifference(delta=0.5),
        output=noise(B, C),
        target=torch.column_stack((CLASSES.double(), REAL[:, 0])),
        value=lambda q, t: (huber(q[int(t[0])] - t[1], 0.5), 1.0),
    ),
    Case(
        loss=SampleWeighted(CrossEntropy(class_weights=WEIGHTS)),
        output=noise(B, C),
        target=torch.column_stack((CLASSES.double(), IMPORTANCE)),
        value=weighted(cross_entropy(weights=WEIGHTS)),
    ),
    Case(
        loss=SampleWeighted(CrossEntropy(ignore=1)),
        output=noise(B, C, T),
        target=torch.column_stack((TOKENS.double(), IMPORTANCE)),
        value=weighted(cross_entropy(ignore=1)),
    ),
    Case(
        loss=SampleWeighted(MeanSquaredError(), classes=False),
        output=noise(B, 1),
        target=torch.column_stack((REAL[:, 0], IMPORTANCE)),
        value=lambda z, y: (y[1] * (z[0] - y[0]) ** 2, y[1]),
        outputs=1,
    ),
]
