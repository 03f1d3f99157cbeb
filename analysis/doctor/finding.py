"""A finding: a disease, where it was seen, its evidence, and one change to try."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


class Disease(StrEnum):
    """What can be wrong with a run."""

    DIVERGENCE = "divergence"
    NO_PROGRESS = "no progress"
    APART = "validation left behind"
    SEEDS = "a seed that fails"
    OSCILLATION = "oscillation"
    GRADIENTS = "growing gradients"
    OVERFITTING = "overfitting"
    SHORT = "too few epochs"
    EDGE = "end of a range"
    SPIKES = "loss spikes"
    INPUT = "slow input"
    DEVICE = "idle device"


WEIGHT = {
    Disease.DIVERGENCE: 1.0,
    Disease.NO_PROGRESS: 0.95,
    Disease.APART: 0.85,
    Disease.SEEDS: 0.75,
    Disease.OSCILLATION: 0.7,
    Disease.GRADIENTS: 0.6,
    Disease.OVERFITTING: 0.6,
    Disease.SHORT: 0.55,
    Disease.EDGE: 0.5,
    Disease.SPIKES: 0.4,
    Disease.INPUT: 0.35,
    Disease.DEVICE: 0.3,
}
"""How much each matters where every run has it: first what leaves no result, then what costs some of it, then what costs time."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """What was found at a level (by its label; None: in the whole sweep): ``trials`` have it, ``of`` were looked at.

    ``evidence`` holds the numbers, ``change`` one change of the recipe. ``sure`` is 1 for what is counted, else 1 less the chance
    of evidence as strong in healthy runs; ``matters`` lies between 0 and 1.
    """

    disease: Disease
    level: str | None
    trials: Sequence[str]
    of: int
    evidence: str
    change: str
    sure: float
    matters: float

    @property
    def weight(self) -> float:
        """What findings are ordered by."""
        return self.sure * self.matters

    def to_json(self) -> dict[str, Any]:
        """The finding as plain values."""
        return asdict(self) | {"disease": self.disease.value, "trials": list(self.trials)}


def found(
    disease: Disease,
    *,
    level: str | None,
    trials: Sequence[str],
    of: int,
    evidence: str,
    change: str,
    sure: float = 1.0,
    strength: float = 1.0,
) -> Finding:
    """A finding whose weight goes with the share of runs that have it and with the ``strength`` of what it does, 0 to 1."""
    share = len(trials) / of if of else 1.0
    return Finding(
        disease=disease,
        level=level,
        trials=tuple(trials),
        of=of,
        evidence=evidence,
        change=change,
        sure=min(max(sure, 0.0), 1.0),
        matters=WEIGHT[disease] * (0.5 + 0.5 * share) * (0.5 + 0.5 * min(max(strength, 0.0), 1.0)),
    )
