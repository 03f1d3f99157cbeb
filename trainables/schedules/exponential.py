"""Exponential decay."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from trainables.schedules import warmup


@dataclass(frozen=True, kw_only=True, slots=True)
class Exponential:
    """Linear warm-up over the first ``warmup`` share of the run, then a fall to ``final`` by the same factor at each step."""

    final: float = 0.01
    warmup: float = 0.0

    def __call__(self, progress: float) -> float:
        """The multiplier at this progress."""
        return warmup.ramp(progress, self.warmup) * float(self.final ** warmup.rest(progress, self.warmup))

    def conflicts(self) -> Iterator[str]:
        """What is wrong with the settings."""
        yield from warmup.conflicts("Exponential", self.warmup)
        if not 0 < self.final <= 1:
            yield f"Exponential final {self.final} must lie in (0, 1]: it is the lr's share at the end, 0.01 is usual"
