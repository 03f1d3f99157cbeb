"""Tree-structured Parzen estimators."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from sweeps.engine.search.domain import Domain
from sweeps.engine.search.search import few_startup, few_trials
from trainables.describe import Scalar

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler


@dataclass(frozen=True, kw_only=True, slots=True)
class TPE:
    """Tree-structured Parzen estimator (Bergstra et al., 2011; Watanabe, 2023) after ``startup`` random points.

    Optuna's own ten random points would leave six of sixteen trials to the estimator, hence five here. Points under way count as
    bad ones, so that trials side by side do not all try the same place. Knows conditional holes, and two goals (Ozaki et al.,
    2022).
    """

    trials: int = 16
    startup: int = 5

    completed_only: ClassVar[bool] = False
    learns: ClassVar[bool] = True

    def heats(self, domain: Domain, known: Sequence[Mapping[str, Scalar]]) -> int:  # noqa: ARG002
        """As many as asked."""
        return self.trials

    def build(self, domain: Domain, seed: int) -> BaseSampler:  # noqa: ARG002
        """A sampler that draws from this seed."""
        from optuna.exceptions import ExperimentalWarning
        from optuna.samplers import TPESampler

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            return TPESampler(seed=seed, n_startup_trials=self.startup, constant_liar=True)

    def conflicts(self, domain: Domain) -> Iterator[str]:  # noqa: ARG002
        """What is wrong with the settings."""
        yield from few_trials("TPE", self.trials)
        yield from few_startup("TPE", self.startup, self.trials)
