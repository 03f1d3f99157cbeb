"""Bayesian optimisation with a Gaussian process."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from sweeps.engine.search.domain import Domain
from sweeps.engine.search.search import conditional, few_startup, few_trials
from trainables.describe import Scalar

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler


@dataclass(frozen=True, kw_only=True, slots=True)
class GP:
    """Gaussian process with a Matérn 5/2 kernel and expected improvement (Snoek et al., 2012; Ament et al., 2023).

    Draws ``startup`` random points first. Points under way are integrated over. The process knows completed heats alone, so a
    stopped one counts with the best it had reached and a diverged one with the worst seen. Also for two goals, by hypervolume,
    where it learns from completed heats only. A point takes a tenth of a second to a second of the driver's time: for trials that
    last longer than that.
    """

    trials: int = 16
    startup: int = 5

    completed_only: ClassVar[bool] = True
    learns: ClassVar[bool] = True

    def heats(self, domain: Domain, known: Sequence[Mapping[str, Scalar]]) -> int:  # noqa: ARG002
        """As many as asked."""
        return self.trials

    def build(self, domain: Domain, seed: int) -> BaseSampler:  # noqa: ARG002
        """A sampler that draws from this seed."""
        from optuna.samplers import GPSampler

        return GPSampler(seed=seed, n_startup_trials=self.startup, warn_independent_sampling=False)

    def conflicts(self, domain: Domain) -> Iterator[str]:
        """What is wrong with the settings, or with a space whose holes come and go."""
        yield from few_trials("GP", self.trials)
        yield from few_startup("GP", self.startup, self.trials)
        yield from conditional("GP", domain)
