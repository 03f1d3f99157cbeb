"""The same learning rate throughout."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from trainables.schedules import warmup


@dataclass(frozen=True, kw_only=True, slots=True)
class Constant:
    """The optimizer's lr throughout, after a linear warm-up over the first ``warmup`` share of the run."""

    warmup: float = 0.0

    def __call__(self, progress: float) -> float:
        """The multiplier at this progress."""
        return warmup.ramp(progress, self.warmup)

    def conflicts(self) -> Iterator[str]:
        """What is wrong with the settings."""
        yield from warmup.conflicts("Constant", self.warmup)
