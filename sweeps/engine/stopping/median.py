"""The median stopping rule."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median

from sweeps.engine.stopping.early_stop import Stopper, late_grace


@dataclass(frozen=True, kw_only=True, slots=True)
class MedianStop:
    """Stop a trial whose best value so far is worse than the median of the others' running averages (Golovin et al., 2017).

    At epoch e, from ``grace`` on, every other trial that has come as far counts with its mean over the epochs from ``grace`` to e;
    there must be ``least`` of them. Stopped trials count too. The other trials of the level alone are looked at.
    """

    grace: int = 1
    least: int = 3

    def build(self, epochs: int, mode: str) -> Stopper:  # noqa: ARG002
        """The rule for one level."""
        return Median(self.grace, self.least, mode)

    def conflicts(self, epochs: int) -> Iterator[str]:
        """What is wrong with the settings for a recipe of so many epochs."""
        yield from late_grace("MedianStop", self.grace, epochs)
        if self.least < 1:
            yield f"MedianStop least {self.least} must be at least 1: a median needs a value; 3 is usual"


class Median:
    """The values of one level's trials: each trial's best, and its running sums by epoch."""

    def __init__(self, grace: int, least: int, mode: str) -> None:
        self._grace, self._least, self._sign = grace, least, -1.0 if mode == "max" else 1.0
        self._best: dict[str, float] = {}
        self._sums: dict[str, list[tuple[int, float, int]]] = {}
        self._reached: dict[str, int] = {}

    def stops(self, trial: str, epoch: int, value: float) -> bool:
        """Take in a value; epochs of a trial rise, but some may be missing."""
        lower = self._sign * value
        best = self._best[trial] = min(self._best.get(trial, lower), lower)
        self._reached[trial] = epoch
        if epoch < self._grace:
            return False
        sums = self._sums.setdefault(trial, [])
        _, total, count = sums[-1] if sums else (epoch, 0.0, 0)
        sums.append((epoch, total + lower, count + 1))
        means = [self._mean(other, epoch) for other in self._sums if other != trial and self._reached[other] >= epoch]
        averages = [mean for mean in means if mean is not None]
        return len(averages) >= self._least and best > median(averages)

    def _mean(self, trial: str, epoch: int) -> float | None:
        """A trial's mean from the grace to this epoch; None when it has no value there."""
        for at, total, count in reversed(self._sums[trial]):
            if at <= epoch:
                return total / count
        return None
