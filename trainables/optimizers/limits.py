"""What every optimizer's settings must keep to."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence


def rates(name: str, lr: float, weight_decay: float) -> Iterator[str]:
    """What is wrong with a learning rate and a weight decay."""
    if not 0 < lr < math.inf:
        yield f"{name} lr {lr} must be above 0 and finite; 1e-3 is a usual start"
    if not 0 <= weight_decay < math.inf:
        yield f"{name} weight_decay {weight_decay} must not be negative, and finite; 0 switches it off"


def moments(name: str, betas: Sequence[float], eps: float) -> Iterator[str]:
    """What is wrong with the decay rates of Adam's two moments, or with what is added to its divisor."""
    if len(betas) != 2 or not all(0 <= beta < 1 for beta in betas):
        yield f"{name} betas {betas} must be two numbers in [0, 1); the usual ones are (0.9, 0.999)"
    yield from divisor(name, eps)


def divisor(name: str, eps: float) -> Iterator[str]:
    """What is wrong with what is added to a divisor."""
    if not 0 < eps < math.inf:
        yield f"{name} eps {eps} must be above 0 and finite; 1e-8 is usual"
