"""The mean of differences that vary by run and by sample, with an interval for other runs and other samples."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.student import beyond

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Values = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """A mean difference with the ends of its interval at the level ``confidence``; infinite ends where nothing is known of it.

    ``crossed`` says that all ``runs`` were judged on the same ``samples``, so that the interval is for other samples too; else each
    run drew its own, and the spread of the runs has that in it.
    """

    value: float
    low: float
    high: float
    confidence: float
    runs: int
    samples: int
    crossed: bool

    @property
    def told(self) -> bool:
        """True when the interval leaves out 0."""
        return self.low > 0 or self.high < 0


def difference(
    values: Sequence[Sequence[float]] | Sequence[Values], *, crossed: bool, confidence: float = 0.95
) -> Difference:
    """The mean over runs of their mean difference, given by sample for each run.

    Crossed, runs and samples both are drawn from many: the variance is that of the runs' means over their number plus that of
    the samples' means over theirs, which counts what both share twice and so errs on the wide side; degrees of freedom by
    Satterthwaite (1946). Otherwise each run is one value, and the interval is Student's. Raises ValueError for no run, one without
    samples, or crossed runs of different length.
    """
    rows = [np.asarray(row, dtype=np.float64) for row in values]
    lengths = {len(row) for row in rows}
    if not rows or 0 in lengths or (crossed and len(lengths) > 1):
        raise ValueError(
            f"differences of {[len(row) for row in rows]} samples; each run needs some, crossed runs the same ones"
        )
    means = np.array([row.mean() for row in rows])
    parts = [_part(means)]
    if crossed and len(rows[0]) > 1:
        parts.append(_part(np.mean(rows, axis=0)))
    value, runs = float(means.mean()), len(rows)
    # Unrounded means of one value differ by a last digit, which is no spread.
    slight = 1e-12 * max(1.0, float(np.abs(means).max()))
    variance = sum(part.variance for part in parts)
    if runs < 2:
        low, high = -math.inf, math.inf
    elif math.sqrt(variance) <= slight:
        low, high = value, value
    else:
        freedom = variance**2 / sum(part.variance**2 / part.freedom for part in parts if part.variance > 0)
        half = beyond((1 - confidence) / 2, freedom) * math.sqrt(variance)
        low, high = value - half, value + half
    return Difference(
        value=value,
        low=low,
        high=high,
        confidence=confidence,
        runs=runs,
        samples=round(float(np.mean([len(row) for row in rows]))),
        crossed=crossed,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Part:
    """The variance of a mean, and its degrees of freedom."""

    variance: float
    freedom: int


def _part(values: NDArray[Any]) -> _Part:
    if len(values) < 2:
        return _Part(variance=0.0, freedom=1)
    return _Part(variance=float(values.var(ddof=1)) / len(values), freedom=len(values) - 1)
