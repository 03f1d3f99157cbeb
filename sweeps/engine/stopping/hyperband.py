"""Hyperband, as successive halving with several brackets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

from sweeps.engine.stopping.asha import ASHA
from sweeps.engine.stopping.early_stop import Stopper, late_grace, small_factor
from trainables.seeds import derived


@dataclass(frozen=True, kw_only=True, slots=True)
class Hyperband:
    """Asynchronous Hyperband (Li et al., 2018; 2020): ``brackets`` of ASHA, each with a grace ``factor`` times as long as the last.

    What is slow to show its worth has a chance in the later brackets. Nothing waits for anything. Brackets whose first rung lies
    beyond the last epoch are left out. A trial's bracket is drawn from its id, so that it is the same after a resume; brackets
    with more rungs get more trials, as in Hyperband in proportion to factor^rungs / (rungs + 1), so that each costs about as many
    epochs. Trials are compared within their bracket alone.
    """

    grace: int = 1
    factor: int = 3
    brackets: int = 3

    def build(self, epochs: int, mode: str) -> Stopper:
        """The brackets of one level."""
        stoppers = [ASHA(grace=grace, factor=self.factor).build(epochs, mode) for grace in self.graces(epochs)]
        return Brackets(stoppers, self.shares(epochs))

    def graces(self, epochs: int) -> list[int]:
        """The grace of each bracket that has a rung within so many epochs, the shortest first."""
        graces = [self.grace * self.factor**bracket for bracket in range(self.brackets)]
        return [grace for grace in graces if grace <= epochs]

    def shares(self, epochs: int) -> list[float]:
        """The share of the trials that each bracket gets; together 1."""
        weights = []
        for grace in self.graces(epochs):
            rungs = 0
            while grace * self.factor**rungs <= epochs:
                rungs += 1
            weights.append(self.factor**rungs / (rungs + 1))
        return [weight / sum(weights) for weight in weights]

    def conflicts(self, epochs: int) -> Iterator[str]:
        """What is wrong with the settings for a recipe of so many epochs."""
        yield from small_factor("Hyperband", self.factor)
        yield from late_grace("Hyperband", self.grace, epochs)
        if self.brackets < 1:
            yield f"Hyperband brackets {self.brackets} must be at least 1; 3 is usual"


class Brackets:
    """Several stoppers; each trial belongs to one of them."""

    def __init__(self, stoppers: Sequence[Stopper], shares: Sequence[float]) -> None:
        self._stoppers, self._ends = stoppers, list(accumulate(shares))

    def bracket(self, trial: str) -> int:
        """The place of a trial's stopper."""
        drawn = derived("bracket", trial) / 2**63
        return next((place for place, end in enumerate(self._ends) if drawn < end), len(self._ends) - 1)

    def stops(self, trial: str, epoch: int, value: float) -> bool:
        """What the trial's own stopper says."""
        return self._stoppers[self.bracket(trial)].stops(trial, epoch, value)
