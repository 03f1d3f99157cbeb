"""Covariance matrix adaptation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from sweeps.engine import space
from sweeps.engine.search.domain import Domain
from sweeps.engine.search.search import conditional, few_startup, few_trials
from sweeps.engine.search.unit import from_unit, to_unit
from trainables.describe import Scalar
from trainables.seeds import derived

if TYPE_CHECKING:
    from cmaes import CMA
    from optuna.samplers import BaseSampler
    from optuna.trial import FrozenTrial


SPREAD = 0.3
"""Standard deviation of the first generation, as a part of every range (Hansen, 2016, advises it)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CMAES:
    """Covariance matrix adaptation evolution strategy (Hansen, 2016) after ``startup`` random points.

    It begins at the best of these, three tenths of every range wide, and learns from generations of 4 + 3 ln(holes) heats: for
    tens of trials and more. Heats are ranked, so stopped ones count too: behind the completed, the later stopped the better.
    Where it stands is worked out from the heats, so a continued search goes on there. Choices are drawn at random beside it.
    """

    trials: int = 32
    startup: int = 4

    completed_only: ClassVar[bool] = False
    learns: ClassVar[bool] = True

    def heats(self, domain: Domain, known: Sequence[Mapping[str, Scalar]]) -> int:  # noqa: ARG002
        """As many as asked."""
        return self.trials

    def build(self, domain: Domain, seed: int) -> BaseSampler:
        """A sampler that draws from this seed."""
        from sweeps.engine.search.sampler import Drawn

        holes = _numbers(domain)
        sign = -1.0 if domain.goals[0] == "max" else 1.0

        def draw(before: Sequence[FrozenTrial], number: int) -> Mapping[str, Scalar]:
            ended = [trial for trial in before if trial.state.name in ("COMPLETE", "PRUNED")]
            there = [trial for trial in ended if holes.keys() <= trial.params.keys()]
            if len(there) < self.startup:
                return {}
            strategy = self._strategy(holes, there, sign)
            strategy.reseed_rng(derived("cma-es", seed, number) % 2**32)
            places = zip(holes.items(), strategy.ask(), strict=True)
            return {name: from_unit(hole, float(place)) for (name, hole), place in places}

        return Drawn(draw, seed)

    def conflicts(self, domain: Domain) -> Iterator[str]:
        """What is wrong with the settings, with the space or with a second goal."""
        yield from few_trials("CMAES", self.trials)
        yield from few_startup("CMAES", self.startup, self.trials)
        inside = list(conditional("CMAES", domain))
        yield from inside
        if not inside and domain.holes() and not _numbers(domain):
            yield "CMAES moves through numbers, but only choices are searched; take TPE or Grid"
        if len(domain.goals) > 1:
            yield "CMAES follows one goal, but also names a second; take TPE or GP"

    def _strategy(self, holes: Mapping[str, space.Hole], ended: Sequence[FrozenTrial], sign: float) -> CMA:
        """The strategy after these heats, generation by generation in the order of their dealing; holes span [0, 1]."""
        import numpy as np
        from cmaes import CMA

        def place(trial: FrozenTrial) -> np.ndarray:
            return np.array([to_unit(hole, trial.params[name]) for name, hole in holes.items()])

        ranked = sorted(ended[: self.startup], key=lambda trial: _rank(trial, sign))
        strategy = CMA(mean=place(ranked[0]), sigma=SPREAD, bounds=np.array([[0.0, 1.0]] * len(holes)), seed=0)
        size = strategy.population_size
        rest = ended[self.startup :]
        for start in range(0, len(rest) - size + 1, size):
            generation = sorted(rest[start : start + size], key=lambda trial: _rank(trial, sign))
            strategy.tell([(place(trial), float(rank)) for rank, trial in enumerate(generation)])
        return strategy


def _numbers(domain: Domain) -> dict[str, space.Hole]:
    """The holes that are numbers, by Optuna's names."""
    return {name: hole for name, hole in domain.holes().items() if not isinstance(hole, space.Choice)}


def _rank(trial: FrozenTrial, sign: float) -> tuple[int, int, float]:
    """Completed heats by their value; then stopped and diverged ones, the later the better; then those without any value."""
    if trial.value is not None and trial.state.name == "COMPLETE":
        return 0, 0, sign * trial.value
    if not trial.intermediate_values:
        return 2, 0, 0.0
    last = max(trial.intermediate_values)
    return 1, -last, sign * trial.intermediate_values[last]
