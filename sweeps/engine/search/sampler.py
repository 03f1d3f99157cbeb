"""A function of the trials so far, as a sampler of Optuna's."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from optuna.samplers import BaseSampler, RandomSampler

from trainables.describe import Scalar

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.study import Study
    from optuna.trial import FrozenTrial

Draw = Callable[[Sequence["FrozenTrial"], int], Mapping[str, Scalar]]
"""(all trials before this one, this one's number) -> values by Optuna's names; what it leaves out is drawn at random.

It holds no state of its own, so that a study that was filled from the ledger goes on as the one that filled the ledger.
"""


class Drawn(BaseSampler):
    """Asks ``draw`` once a trial."""

    def __init__(self, draw: Draw, seed: int) -> None:
        self._draw, self._otherwise = draw, RandomSampler(seed=seed)
        self._drawn: tuple[int, Mapping[str, Scalar]] | None = None

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:  # noqa: ARG002
        """Nothing: every hole is asked for on its own, so that conditional ones can be."""
        return {}

    def sample_relative(
        self,
        study: Study,  # noqa: ARG002
        trial: FrozenTrial,  # noqa: ARG002
        search_space: dict[str, BaseDistribution],  # noqa: ARG002
    ) -> dict[str, Any]:
        """Nothing, as said above."""
        return {}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """The value drawn for this hole."""
        if self._drawn is None or self._drawn[0] != trial.number:
            before = [other for other in study.get_trials(deepcopy=False) if other.number != trial.number]
            self._drawn = trial.number, self._draw(before, trial.number)
        values = self._drawn[1]
        if param_name in values:
            return values[param_name]
        return self._otherwise.sample_independent(study, trial, param_name, param_distribution)
