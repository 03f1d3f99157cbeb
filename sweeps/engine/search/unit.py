"""Numbers from 0 to 1 for the values of a hole."""

from __future__ import annotations

import math

from sweeps.engine import space
from trainables.describe import Scalar


def from_unit(hole: space.Hole, place: float) -> Scalar:
    """The value of a hole at a place in [0, 1]: options and whole numbers have equal shares of it, or equal in the logarithm."""
    match hole:
        case space.Choice(options):
            return space.name(options[_share(place, len(options))])
        case space.Uniform(low, high, log):
            value = math.exp(_between(math.log(low), math.log(high), place)) if log else _between(low, high, place)
            return min(max(value, low), high)
        case space.IntRange(low, high, log):
            if not log:
                return low + _share(place, high - low + 1)
            value = math.exp(_between(math.log(low - 0.5), math.log(high + 0.5), place))
            return min(max(round(value), low), high)
        case space.Each():
            raise TypeError("a compared factor is not searched")


def to_unit(hole: space.Hole, value: Scalar) -> float:
    """The place of a value in its hole: the middle of its share for options and whole numbers. Raises ValueError for a stranger."""
    match hole:
        case space.Choice(options):
            return ([space.name(option) for option in options].index(value) + 0.5) / len(options)
        case space.Uniform(low, high, log):
            number = float(value)  # type: ignore[arg-type]
            if log:
                return (math.log(number) - math.log(low)) / (math.log(high) - math.log(low))
            return (number - low) / (high - low)
        case space.IntRange(low, high, log):
            whole = int(value)  # type: ignore[arg-type]
            if log:
                bottom, top = math.log(low - 0.5), math.log(high + 0.5)
                return (math.log(whole) - bottom) / (top - bottom)
            return (whole - low + 0.5) / (high - low + 1)
        case space.Each():
            raise TypeError("a compared factor is not searched")


def _between(low: float, high: float, place: float) -> float:
    return low + (high - low) * place


def _share(place: float, count: int) -> int:
    """Which of ``count`` equal parts of [0, 1] a place lies in."""
    return min(int(place * count), count - 1)
