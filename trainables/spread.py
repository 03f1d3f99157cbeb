"""A figure that was measured several times: its middle, and how far apart the measurements lie."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True, kw_only=True, slots=True)
class Spread:
    """The median of ``count`` measurements between the least and the greatest.

    Whatever their distribution, independent measurements lie on both sides of its median with the probability ``confidence``,
    1 - 2^(1 - count): 0.97 for six of them, 0 for one.
    """

    value: float
    low: float
    high: float
    count: int

    @property
    def confidence(self) -> float:
        """The probability that the interval holds the median of all such measurements."""
        return 1.0 - 2.0 ** (1 - self.count)


def spread(values: Sequence[float]) -> Spread:
    """The spread of positive values; the middle of an even number of them is the geometric mean of the two in the middle.

    Raises ValueError for no value, and for one that is not above 0 and finite.
    """
    wrong = [value for value in values if not 0 < value < math.inf]
    if wrong or not values:
        raise ValueError(
            f"a spread needs values above 0 and finite, and there {f'is {wrong[0]}' if wrong else 'are none'}"
        )
    middle = math.exp(median(math.log(value) for value in values))
    least, most = min(values), max(values)
    # The logarithm and back may leave the values by a last digit.
    return Spread(value=min(max(middle, least), most), low=least, high=most, count=len(values))
