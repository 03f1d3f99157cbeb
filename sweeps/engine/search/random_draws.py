"""Random search."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from sweeps.engine.search.domain import Domain
from sweeps.engine.search.search import few_trials
from trainables.describe import Scalar

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler


@dataclass(frozen=True, kw_only=True, slots=True)
class Random:
    """Independent draws from the space (Bergstra and Bengio, 2012)."""

    trials: int = 16

    completed_only: ClassVar[bool] = False
    learns: ClassVar[bool] = False

    def heats(self, domain: Domain, known: Sequence[Mapping[str, Scalar]]) -> int:  # noqa: ARG002
        """As many as asked."""
        return self.trials

    def build(self, domain: Domain, seed: int) -> BaseSampler:  # noqa: ARG002
        """A sampler that draws from this seed."""
        from optuna.samplers import RandomSampler

        return RandomSampler(seed=seed)

    def conflicts(self, domain: Domain) -> Iterator[str]:  # noqa: ARG002
        """What is wrong with the settings."""
        yield from few_trials("Random", self.trials)
