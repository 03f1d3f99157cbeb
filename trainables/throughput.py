"""Samples a second by batch, and the batch beyond which more samples at once bring nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from trainables.spread import Spread, spread


@dataclass(frozen=True, kw_only=True, slots=True)
class Paced:
    """A batch with its samples a second, and its share of what the best batch did in the same round."""

    batch: int
    throughput: Spread
    share: Spread


@dataclass(frozen=True, kw_only=True, slots=True)
class Knee:
    """The smallest batch that comes within ``within`` of the best; ``low`` and ``high`` are the extremes over single rounds.

    ``grows`` says that it is the largest batch of several: what a larger one would bring is not known.
    """

    batch: int
    low: int
    high: int
    rounds: int
    within: float
    grows: bool
    paces: tuple[Paced, ...]

    def says(self) -> str:
        """The outcome as a clause."""
        sure = f"[{self.low}, {self.high}] over {self.rounds} rounds" if self.rounds > 1 else "in one round"
        if self.grows:
            return f"throughput still grows at {self.batch} ({sure})"
        return f"throughput is flat beyond {self.batch} ({sure}; within {100 * self.within:g} % of the best)"


def knee(rates: Mapping[int, Sequence[float]], *, within: float) -> Knee:
    """The knee of samples a second, by batch: as many measurements of each, the n-th of all taken in the same round.

    Raises ValueError for no batch, and for batches that were not measured equally often.
    """
    counts = {len(values) for values in rates.values()}
    if len(counts) != 1 or 0 in counts:
        raise ValueError(f"a knee needs batches measured equally often, and these were measured {sorted(counts)} times")
    batches = sorted(rates)
    middle = {batch: spread(rates[batch]).value for batch in batches}
    best = max(batches, key=lambda batch: middle[batch])
    chosen = _first(middle, within)
    single = [_first({batch: rates[batch][number] for batch in batches}, within) for number in range(counts.pop())]
    return Knee(
        batch=chosen,
        low=min(single),
        high=max(single),
        rounds=len(single),
        within=within,
        grows=len(batches) > 1 and chosen == batches[-1],
        paces=tuple(
            Paced(
                batch=batch,
                throughput=spread(rates[batch]),
                share=spread([mine / theirs for mine, theirs in zip(rates[batch], rates[best], strict=True)]),
            )
            for batch in batches
        ),
    )


def _first(rates: Mapping[int, float], within: float) -> int:
    """The smallest batch within reach of the best."""
    best = max(rates.values())
    return min(batch for batch, rate in rates.items() if rate >= (1 - within) * best)
