"""How the next point of a level is chosen."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler


class Search(Protocol):
    """A part that builds an Optuna sampler; ``trials`` heats are dealt to each level."""

    @property
    def trials(self) -> int: ...

    def build(self, seed: int) -> BaseSampler:
        """A sampler that draws from this seed."""
        ...

    def conflicts(self) -> Iterator[str]:
        """What is wrong with the settings."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class TPE:
    """Tree-structured Parzen estimator (Bergstra et al., 2011; Watanabe, 2023) after ``startup`` random points.

    Optuna's own ten random points would leave six of sixteen trials to the estimator, hence five here. Points under way count as
    bad ones, so that trials side by side do not all try the same place.
    """

    trials: int = 16
    startup: int = 5

    def build(self, seed: int) -> BaseSampler:
        """A sampler that draws from this seed."""
        from optuna.exceptions import ExperimentalWarning
        from optuna.samplers import TPESampler

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            return TPESampler(seed=seed, n_startup_trials=self.startup, constant_liar=True)

    def conflicts(self) -> Iterator[str]:
        """What is wrong with the settings."""
        yield from _trials("TPE", self.trials)
        if self.startup < 1:
            yield f"TPE startup {self.startup} must be at least 1; 5 is usual for 16 trials"


@dataclass(frozen=True, kw_only=True, slots=True)
class Random:
    """Independent draws from the space (Bergstra and Bengio, 2012)."""

    trials: int = 16

    def build(self, seed: int) -> BaseSampler:
        """A sampler that draws from this seed."""
        from optuna.samplers import RandomSampler

        return RandomSampler(seed=seed)

    def conflicts(self) -> Iterator[str]:
        """What is wrong with the settings."""
        yield from _trials("Random", self.trials)


def _trials(name: str, trials: int) -> Iterator[str]:
    if trials < 1:
        yield f"{name} trials {trials} must be at least 1: every level needs a point to send to the finals"
