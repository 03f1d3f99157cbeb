"""Looking at the finals more than once, and what each look may spend of alpha."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from analysis.ledger import Question
from analysis.verdict import Look

CONFIDENCE = 0.95
"""That no difference between levels that are alike is told apart, over all comparisons and all looks."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Occasion:
    """What is judged now: the looks, which of them counts, its alpha, and how many seeds it uses.

    ``early`` is True when not even the first look's seeds are there; the first look's alpha is used then.
    """

    looks: Sequence[Look]
    alpha: float
    seeds: int
    early: bool


def declared_looks(question: Question) -> list[int]:
    """The seeds after which a look was declared, ascending: ``looks`` of the question, else one look at all its seeds.

    Raises ValueError for looks that are not increasing whole numbers from 1 on.
    """
    seeds = list(question.raw.get("looks") or [question.seeds])
    if any(not isinstance(look, int) or look < 1 for look in seeds) or sorted(set(seeds)) != seeds:
        raise ValueError(
            f"looks {seeds} are not increasing whole numbers; declare them as the seeds, such as [8, 16, 32]"
        )
    return seeds


def occasion(declared: Sequence[int], *, done: int, alpha: float) -> Occasion:
    """Which look counts when ``done`` seeds are there for all levels, and what it may spend.

    Alpha is spent in proportion to the seeds, alpha(t) = alpha t (Lan and DeMets, *Biometrika* 70, 1983; the power family
    of Kim and DeMets, *Biometrika* 74, 1987, with exponent 1). Each look tests at its own increment, so that the sum over
    all looks is alpha however they depend on each other. Between two looks the earlier one stands, with its own seeds:
    the seeds beyond it wait, or else every refresh of a page would be another look. After the last, all seeds are used.
    """
    before = [0, *declared[:-1]]
    spent = [alpha * (seeds - previous) / declared[-1] for seeds, previous in zip(declared, before, strict=True)]
    looks = [Look(seeds=seeds, alpha=share, taken=seeds <= done) for seeds, share in zip(declared, spent, strict=True)]
    taken = [look for look in looks if look.taken]
    if not taken:
        return Occasion(looks=looks, alpha=looks[0].alpha, seeds=done, early=True)
    last = done if len(taken) == len(looks) else taken[-1].seeds
    return Occasion(looks=looks, alpha=taken[-1].alpha, seeds=last, early=False)
