"""What each way to a gradient costs and how exact it is, measured on perceptrons of any size."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from trainables.differences import (
    Method,
    Objective,
    central,
    central_at_once,
    one_sided,
    one_sided_at_once,
)
from trainables.losses import CrossEntropy
from trainables.models import MLP
from trainables.seeds import generator

INPUTS, OUTPUTS = 64, 10
STEPS = (1e-2, 3e-3, 1e-3, 3e-4)
"""Where the order of the error is measured: below, rounding enters; above, the higher terms."""

SAMPLE = 64
"""Elements of each parameter at which the order is measured, and from which the time of all is foreseen."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Way:
    """A way to a gradient by differences: the forward passes for ``n`` elements, and the order of its error."""

    name: str
    method: Method
    order: int

    def passes(self, n: int) -> int:
        """2 n for central differences, n + 1 for one-sided ones."""
        return 2 * n if self.order == 2 else n + 1


WAYS = (
    Way(name="central", method=central, order=2),
    Way(name="one-sided", method=one_sided, order=1),
    Way(name="central, vmap", method=central_at_once, order=2),
    Way(name="one-sided, vmap", method=one_sided_at_once, order=1),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One way at one size; autograd's has neither ``error`` nor ``order``.

    ``passes`` and CPU ``seconds`` are for the whole gradient; where fewer than all ``parameters`` were ``evaluated``, the seconds
    are in proportion. ``error`` is the greatest deviation from autograd as a share of the parameter's largest derivative;
    ``order`` is the slope of its logarithm over that of the step.
    """

    parameters: int
    method: str
    passes: int
    evaluated: int
    error: float | None
    order: float | None
    seconds: float
    as_expected: bool


def perceptron(parameters: int) -> MLP:
    """A smooth perceptron, 64-w-w-10 with tanh, of about this many parameters: w² + 76 w + 10."""
    width = max(1, round(-38 + math.sqrt(38**2 + parameters - 10))) if parameters > 10 else 1
    return MLP(widths=(width, width), inputs=INPUTS, outputs=OUTPUTS, activation="tanh")


def measured(parameters: int, batch: int, step: float, limit: float) -> list[Row]:
    """Every way at about this size, on one thread; ``limit`` are CPU seconds for all of them, beyond which a share is evaluated."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        objective = _objective(parameters, batch)
        objective.gradient()
        begun, repeats = time.process_time(), 10
        for _ in range(repeats):
            gradient = objective.gradient()
        seconds = (time.process_time() - begun) / repeats
        count = sum(one.numel() for one in gradient.values())
        exact = Row(
            parameters=count,
            method="autograd",
            passes=1,
            evaluated=count,
            error=None,
            order=None,
            seconds=seconds,
            as_expected=all(bool(one.isfinite().all()) for one in gradient.values()),
        )
        return [exact, *(_row(way, objective, gradient, step, limit / len(WAYS)) for way in WAYS)]
    finally:
        torch.set_num_threads(threads)


def _objective(parameters: int, batch: int) -> Objective:
    source = generator("gradient check", parameters)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = perceptron(parameters).build()
    inputs = torch.randn(batch, INPUTS, generator=source, dtype=torch.float64)
    target = torch.randint(OUTPUTS, (batch,), generator=source)
    return Objective(module.eval(), inputs, target, CrossEntropy())


def _row(way: Way, objective: Objective, gradient: Mapping[str, Tensor], step: float, limit: float) -> Row:
    """One way: its order from some elements, its error and time from as many as the limit allows."""
    few = {name: _spread(one.numel(), SAMPLE) for name, one in gradient.items()}
    errors = [_evaluated(way, objective, gradient, few, size)[0] for size in STEPS]
    _, foreseen = _evaluated(way, objective, gradient, few, step)
    share = min(1.0, limit / foreseen) if foreseen > 0 else 1.0
    chosen = {name: _spread(one.numel(), math.ceil(share * one.numel())) for name, one in gradient.items()}
    error, seconds = _evaluated(way, objective, gradient, chosen, step)
    count = sum(one.numel() for one in gradient.values())
    order = float(np.polyfit(np.log(STEPS), np.log(errors), 1)[0])
    return Row(
        parameters=count,
        method=way.name,
        passes=way.passes(count),
        evaluated=sum(len(one) for one in chosen.values()),
        error=error,
        order=order,
        seconds=seconds,
        as_expected=abs(order - way.order) < 0.25,
    )


def _evaluated(
    way: Way, objective: Objective, gradient: Mapping[str, Tensor], chosen: Mapping[str, Tensor], step: float
) -> tuple[float, float]:
    """The greatest relative error at the chosen elements, and CPU seconds for all elements in proportion."""
    worst = seconds = 0.0
    for name, elements in chosen.items():
        flat = gradient[name].flatten()
        begun = time.process_time()
        found = way.method(objective, name, elements, step)
        seconds += (time.process_time() - begun) * len(flat) / len(elements)
        worst = max(worst, float((found - flat[elements]).abs().max() / flat.abs().max()))
    return worst, seconds


def _spread(count: int, wanted: int) -> Tensor:
    """``wanted`` of ``count`` elements at even distances, all where there are no more."""
    wanted = min(count, wanted)
    return torch.arange(wanted) * count // wanted
