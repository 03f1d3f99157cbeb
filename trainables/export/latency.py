"""How long a model takes to answer, each in turn with the others."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import fmean

import torch

ROUNDS, BLOCK = 40, 10
"""Turns that each model has, and timed calls in a turn."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Latency:
    """Seconds of one call with ``batch`` samples: the median and the 99th percentile of ``calls``. ``per_second`` are samples."""

    batch: int
    calls: int
    p50: float
    p99: float
    per_second: float


def timed(
    calls: Mapping[str, Callable[[], object]], batch: int, *, rounds: int = ROUNDS, block: int = BLOCK
) -> dict[str, Latency]:
    """Time each of ``calls``, which answers ``batch`` samples, in turns of ``block`` calls.

    Turns come round again, so that what else the machine does falls on all alike; each begins with a call that is not timed, and
    the first round is none at all.
    """
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(rounds + 1):
        for name, call in calls.items():
            call()
            seconds = [_seconds(call) for _ in range(block)]
            if turn:
                taken[name] += seconds
    return {name: _latency(batch, seconds) for name, seconds in taken.items()}


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Torch on so many threads, put back afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _seconds(call: Callable[[], object]) -> float:
    begun = time.perf_counter_ns()
    call()
    return (time.perf_counter_ns() - begun) / 1e9


def _latency(batch: int, seconds: list[float]) -> Latency:
    p50, p99 = (
        torch.tensor(seconds, dtype=torch.float64).quantile(torch.tensor([0.5, 0.99], dtype=torch.float64)).tolist()
    )
    return Latency(batch=batch, calls=len(seconds), p50=p50, p99=p99, per_second=batch / fmean(seconds))
