"""Searches compared with each other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sweeps.engine.search.domain import Domain
from sweeps.engine.search.search import Search, few_trials
from trainables.describe import Scalar

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler


@dataclass(frozen=True, kw_only=True, slots=True)
class Rivals:
    """Searches as a compared factor, each with the same number of heats: ``Rivals(trials=16, method=each(TPE(), Random()))``.

    ``trials`` stands for the methods' own. Every method is a level: it has a study of its own, and finals for the point it found.
    """

    method: Search
    trials: int = 16

    @property
    def completed_only(self) -> bool:
        """As the method does."""
        return self.method.completed_only

    def heats(self, domain: Domain, known: Sequence[Mapping[str, Scalar]]) -> int:
        """As many as asked, or as the method has."""
        return self._own().heats(domain, known)

    def build(self, domain: Domain, seed: int) -> BaseSampler:
        """The method's sampler."""
        return self._own().build(domain, seed)

    def conflicts(self, domain: Domain) -> Iterator[str]:
        """What is wrong with the number of heats, or with the method."""
        wrong = list(few_trials("Rivals", self.trials))
        yield from wrong or self._own().conflicts(domain)

    def _own(self) -> Search:
        """The method with the heats that all have."""
        return replace(self.method, trials=self.trials)  # type: ignore[type-var]
