"""The spread of a few measurements says how sure it is, and is as sure as it says."""

from __future__ import annotations

import math

import pytest
import torch

from trainables.seeds import generator
from trainables.spread import spread


def test_the_middle_lies_between_the_ends() -> None:
    found = spread([8.0, 2.0, 4.0])
    assert found.value == pytest.approx(4.0)
    assert (found.low, found.high, found.count) == (2.0, 8.0, 3)
    assert spread([1.0, 100.0]).value == pytest.approx(10.0)
    assert spread([3.0]).confidence == 0.0
    assert spread([1.0] * 6).confidence == pytest.approx(1 - 2 / 64)


def test_the_interval_holds_the_median_as_often_as_it_says() -> None:
    """Whatever the distribution: here one with a long tail, whose median is 1."""
    drawn = torch.randn(4000, 6, generator=generator("spread"), dtype=torch.float64).mul(3).exp().tolist()
    found = [spread(values) for values in drawn]
    held = sum(one.low <= 1.0 <= one.high for one in found) / len(found)
    assert held == pytest.approx(found[0].confidence, abs=4 * math.sqrt(0.03 / 4000))


@pytest.mark.parametrize("values", [[], [1.0, 0.0], [math.nan], [math.inf]])
def test_what_has_no_spread_is_refused(values: list[float]) -> None:
    with pytest.raises(ValueError, match="a spread needs values above 0"):
        spread(values)
