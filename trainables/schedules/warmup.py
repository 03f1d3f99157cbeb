"""Warm-up, which any schedule can begin with."""

from __future__ import annotations

from collections.abc import Iterator


def ramp(progress: float, warmup: float) -> float:
    """Evenly from 0 at the start to 1 after the first ``warmup`` share of the run (Goyal et al., 2017), and 1 from there."""
    return progress / warmup if progress < warmup else 1.0


def rest(progress: float, warmup: float) -> float:
    """Progress through what comes after the warm-up: 0 until its end, 1 at the run's end."""
    return max(0.0, progress - warmup) / (1 - warmup)


def conflicts(name: str, warmup: float) -> Iterator[str]:
    """What is wrong with a warm-up."""
    if not 0 <= warmup < 1:
        yield f"{name} warmup {warmup} must lie in [0, 1): it is a share of the run, 0.1 is usual"


def floor_conflicts(name: str, floor: float) -> Iterator[str]:
    """What is wrong with a floor."""
    if not 0 <= floor <= 1:
        yield f"{name} floor {floor} must lie in [0, 1]: it is a share of the optimizer's lr"
