"""What a profile says."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

PHASES = ("data", "forward", "backward", "optimizer", "validation", "checkpoint", "other")
"""What the time of a run is divided into, to the last bit."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Timing:
    """One phase, in seconds: ``count`` times, ``total`` in all, quantiles and ends of a single time, its ``share`` of the whole.

    ``workers`` are the least and the greatest mean of several workers, None for one alone.
    """

    phase: str
    count: int
    total: float
    mean: float
    least: float
    greatest: float
    p50: float
    p95: float
    p99: float
    share: float
    workers: tuple[float, float] | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Profiled:
    """Where the time went, as the first of ``workers`` saw it; the shares of all phases add up to 1.

    ``epochs`` were measured, ``steps`` in all, in ``seconds``. ``trace`` is the file of torch's trace, where one was asked for, of
    the steps ``traced``.
    """

    device: str
    workers: int
    epochs: tuple[int, ...]
    steps: int
    seconds: float
    phases: tuple[Timing, ...]
    trace: str | None = None
    traced: tuple[int, int] | None = None

    def phase(self, name: str) -> Timing | None:
        """A phase by its name; None for one that did not come up."""
        return next((timing for timing in self.phases if timing.phase == name), None)

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)
