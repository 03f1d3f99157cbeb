"""Quasi-random search."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from sweeps.engine.search.domain import Domain
from sweeps.engine.search.search import few_trials
from sweeps.engine.search.unit import from_unit
from trainables.describe import Scalar

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler
    from optuna.trial import FrozenTrial


@dataclass(frozen=True, kw_only=True, slots=True)
class Sobol:
    """A scrambled Sobol sequence (Sobol, 1967; Owen, 1998): as little learned as from random draws, but spread more evenly.

    Most even when ``trials`` is a power of two. A continued sequence is scrambled anew and goes on at its next place. A conditional
    hole has a dimension of its own, which is passed over where it is not there.
    """

    trials: int = 16

    completed_only: ClassVar[bool] = False
    learns: ClassVar[bool] = False

    def heats(self, domain: Domain, known: Sequence[Mapping[str, Scalar]]) -> int:  # noqa: ARG002
        """As many as asked."""
        return self.trials

    def build(self, domain: Domain, seed: int) -> BaseSampler:
        """A sampler that draws from this seed."""
        from scipy.stats.qmc import Sobol as Sequenced

        from sweeps.engine.search.sampler import Drawn

        holes = domain.holes()

        def draw(before: Sequence[FrozenTrial], number: int) -> Mapping[str, Scalar]:  # noqa: ARG001
            sequence = Sequenced(len(holes), scramble=True, rng=seed)
            if number:  # SciPy takes a step of nothing for one of -1
                sequence.fast_forward(number)
            places = sequence.random(1)[0]
            return {
                name: from_unit(hole, float(place)) for (name, hole), place in zip(holes.items(), places, strict=True)
            }

        return Drawn(draw, seed)

    def conflicts(self, domain: Domain) -> Iterator[str]:  # noqa: ARG002
        """What is wrong with the settings."""
        yield from few_trials("Sobol", self.trials)
