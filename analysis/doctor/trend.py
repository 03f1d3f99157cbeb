"""Trends and noise in short series, without a model of the curve."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np

from analysis.doctor.course import Array, middle

SURE = 2.58
"""The z-value from which a trend counts: one-sided 0.5 % in series that have none."""


def kendall(values: Array) -> tuple[float, float]:
    """Mann and Kendall's S, the rises less the falls among all pairs, and its variance where there is no trend; ties counted."""
    n = len(values)
    if n < 2:
        return 0.0, 0.0
    s = float(np.triu(np.sign(values[None, :] - values[:, None])).sum())
    ties = np.array([*Counter(values.tolist()).values()])
    variance = (n * (n - 1) * (2 * n + 5) - float((ties * (ties - 1) * (2 * ties + 5)).sum())) / 18
    return s, variance


def trend(series: Sequence[Array]) -> float:
    """The z-value of a common trend of several series, upwards above 0: their S added up, since runs are independent."""
    parts = [kendall(values) for values in series]
    s, variance = sum(one for one, _ in parts), sum(one for _, one in parts)
    if variance <= 0:
        return 0.0
    return (s - math.copysign(1.0, s) if s else 0.0) / math.sqrt(variance)


def rising(series: Sequence[Array]) -> float:
    """The share of the series that go up more than down; 0 of none."""
    signs = [kendall(values)[0] for values in series if len(values) > 1]
    return sum(s > 0 for s in signs) / len(signs) if signs else 0.0


def noise(values: Array) -> float:
    """The sd of what goes up and down from epoch to epoch, by second differences: a smooth curve has next to none.

    The median makes it indifferent to the steep beginning and to single spikes. 0 for fewer than 4 values.
    """
    if len(values) < 4:
        return 0.0
    return 1.4826 * middle(np.abs(np.diff(values, 2))) / math.sqrt(6)


def chance(z: float) -> float:
    """The chance of a z-value at least as large."""
    return 1.0 - NormalDist().cdf(z)
