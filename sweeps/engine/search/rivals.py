"""Searches compared with each other."""

from __future__ import annotations

from dataclasses import dataclass, replace

from sweeps.engine.search.pbt import PBT
from sweeps.engine.search.search import Search


@dataclass(frozen=True, kw_only=True, slots=True)
class Rivals:
    """Searches as a compared factor, each with as many whole runs: ``Rivals(trials=16, method=each(TPE(), Random()))``.

    ``trials`` stands for the methods' own: heats, or the members of a population, which train for as many epochs in all. Every
    method is a level: it has a study of its own, and finals for the point it found.
    """

    method: Search | PBT
    trials: int = 16

    def own(self) -> Search | PBT:
        """The method with the heats that all have; it must be settled."""
        return replace(self.method, trials=self.trials)  # type: ignore[type-var]
