"""From measured runs to medians, spreads and ratios."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Self

from benchmarks.trial import Outcome

RATIOS = {
    "solo_vs_stock_function": ("stock_function", "solo"),
    "crew_vs_stock_trainer_2": ("stock_trainer_2", "crew"),
    "gang_vs_stock_trainer_1": ("stock_trainer_1", "gang_1"),
    "gang_vs_stock_trainer_2": ("stock_trainer_2", "gang_2"),
    "solo_vs_optuna": ("optuna", "solo"),
    "fused_vs_optuna": ("optuna_small", "fused"),
    "fused_untracked_vs_optuna": ("optuna_small", "fused_untracked"),
    "fused_vs_stock_function": ("stock_function_small", "fused"),
}
"""Each ratio: how many times what the second costs a trial the first one does."""

GOALS = {"solo_vs_stock_function": 5.0, "crew_vs_stock_trainer_2": 30.0, "fused_vs_optuna": 8.0}
"""What the product sets out to reach."""

SAME, ALIKE = 1e-4, 0.15
"""How far losses may be off, relatively: drawn in the same order (the arithmetic's rounding), and in another order."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Cost:
    """CPU-seconds of all processes and wall seconds."""

    cpu: float
    seconds: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Measurement:
    """One run of a variant: until its first trial had ended, each of the others, after the last.

    ``driver`` is the part of ``trial.cpu`` that the process used itself which made the marks; ``tenths`` is the same for each tenth
    of the trials, where there are enough of them.
    """

    start: Cost
    trial: Cost
    after: Cost
    driver: float
    tenths: Sequence[float]
    outcomes: Sequence[Outcome]


@dataclass(frozen=True, kw_only=True, slots=True)
class Spread:
    """The median of some rounds, the least and the greatest, and all in their order."""

    median: float
    least: float
    greatest: float
    rounds: Sequence[float]

    @classmethod
    def of(cls, values: Iterable[float]) -> Self:
        """Over at least one value."""
        rounds = [*values]
        return cls(median=median(rounds), least=min(rounds), greatest=max(rounds), rounds=rounds)

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return {"median": self.median, "min": self.least, "max": self.greatest, "rounds": [*self.rounds]}


def sides(turns: Sequence[Sequence[Mapping[str, float]]], names: Sequence[str]) -> dict[str, Any]:
    """What was measured in turns, the values of each side in each turn: spreads by side and value."""
    return {
        side: {key: Spread.of(turn[place][key] for turn in turns).to_json() for key in turns[0][place]}
        for place, side in enumerate(names)
    }


def described(runs: Sequence[Measurement]) -> dict[str, Any]:
    """The rounds of one variant as plain values."""
    parts = {
        "start": [run.start for run in runs],
        "per_trial": [run.trial for run in runs],
        "after": [run.after for run in runs],
    }
    return {
        name: {
            "cpu_seconds": Spread.of(cost.cpu for cost in costs).to_json(),
            "seconds": Spread.of(cost.seconds for cost in costs).to_json(),
        }
        for name, costs in parts.items()
    }


def ratios(measured: Mapping[str, Sequence[Measurement]]) -> dict[str, float | None]:
    """Each ratio of medians by CPU-seconds a trial, and by wall under its name with ``_wall``; None for what was not run."""
    found: dict[str, float | None] = {}
    for name, (dear, cheap) in RATIOS.items():
        there = bool(measured.get(dear)) and bool(measured.get(cheap))
        for ending, cost in (("", _cpu), ("_wall", _seconds)):
            found[name + ending] = cost(measured[dear]) / cost(measured[cheap]) if there else None
    return found


def _cpu(runs: Sequence[Measurement]) -> float:
    return median(run.trial.cpu for run in runs)


def _seconds(runs: Sequence[Measurement]) -> float:
    return median(run.trial.seconds for run in runs)


def differences(name: str, *, ordered: bool, said: Sequence[Outcome], reference: Sequence[Outcome]) -> list[str]:
    """Where a variant's trials did not do what the loop written by hand does, each as a sentence.

    Where the order is another one, only the validation loss is compared: a worker's training loss is that of its own part.
    """
    found = []
    allowed = SAME if ordered else ALIKE
    for ours, theirs in zip(said, reference, strict=True):
        losses = [("val_loss", ours.val_loss, theirs.val_loss)]
        if ordered:
            losses.append(("train_loss", ours.train_loss, theirs.train_loss))
        if ours.steps != theirs.steps:
            found.append(f"{name} took {ours.steps} steps at lr {ours.lr:.3g}, the loop by hand takes {theirs.steps}")
        found += [
            f"{name} ended at {loss} {value:.6g} with lr {ours.lr:.3g}, the loop by hand ends at {expected:.6g}"
            for loss, value, expected in losses
            if not abs(value / expected - 1) <= allowed
        ]
    return found
