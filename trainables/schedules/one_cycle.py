"""The one-cycle policy."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from trainables.schedules import warmup


@dataclass(frozen=True, kw_only=True, slots=True)
class OneCycle:
    """Half a cosine up from ``start`` to 1 over the ``rise`` share of the run, then half a cosine down to ``end`` (Smith, 2018).

    ``start`` and ``end`` are shares of the optimizer's lr, at torch's defaults. The momentum stays as it is, unlike in
    ``torch.optim.lr_scheduler.OneCycleLR``. A further ``warmup`` over the first share of the run goes linearly from 0 to ``start``.
    """

    rise: float = 0.3
    start: float = 1 / 25
    end: float = 1 / 25 / 1e4
    warmup: float = 0.0

    def __call__(self, progress: float) -> float:
        """The multiplier at this progress."""
        along = warmup.rest(progress, self.warmup)
        if along < self.rise:
            level = _eased(self.start, 1.0, along / self.rise)
        else:
            level = _eased(1.0, self.end, (along - self.rise) / (1 - self.rise))
        return warmup.ramp(progress, self.warmup) * level

    def conflicts(self) -> Iterator[str]:
        """What is wrong with the settings."""
        yield from warmup.conflicts("OneCycle", self.warmup)
        if not 0 < self.rise < 1:
            yield f"OneCycle rise {self.rise} must lie between 0 and 1: it is a share of the run, 0.3 is usual"
        for name, share in (("start", self.start), ("end", self.end)):
            if not 0 <= share <= 1:
                yield f"OneCycle {name} {share} must lie in [0, 1]: it is a share of the optimizer's lr"


def _eased(low: float, high: float, share: float) -> float:
    """From the first to the second along half a cosine."""
    return high + (low - high) * 0.5 * (1 + math.cos(math.pi * share))
