"""Differences of two models over the same samples, against published intervals and by how often they hold the truth."""

from __future__ import annotations

import math

import pytest
import torch

from trainables.export import difference
from trainables.export.paired import tango


@pytest.mark.parametrize(
    ("gained", "lost", "samples", "low", "high"),
    [
        # Tango (1998), table of examples, as Newcombe (1998) gives them for his method of score intervals as well.
        (1, 1, 14, -0.2602, 0.2602),
        (0, 0, 359, -3.8414588 / 362.8414588, 3.8414588 / 362.8414588),
        (4, 0, 30, 0.0, 0.3),
    ],
)
def test_intervals(gained: int, lost: int, samples: int, low: float, high: float) -> None:
    found = tango(gained, lost, samples, 0.95)
    assert found[0] <= (gained - lost) / samples <= found[1]
    assert found == (pytest.approx(low, abs=0.02), pytest.approx(high, abs=0.03))
    turned = tango(lost, gained, samples, 0.95)
    assert turned == (pytest.approx(-found[1], abs=1e-9), pytest.approx(-found[0], abs=1e-9))


def test_the_ends_are_where_the_score_test_is_just_not_significant() -> None:
    """By hand: at the end D, the likeliest share of lost samples q solves the cubic's remaining square, and z is 1.96."""
    gained, lost, samples = 12, 5, 100
    for end in tango(gained, lost, samples, 0.95):
        grid = torch.linspace(1e-6, (1 - abs(end)) / 2, 200_001, dtype=torch.float64)
        shares = grid[(grid + end > 0) & (1 - 2 * grid - end > 0)]
        rest = samples - gained - lost
        likelihood = gained * (shares + end).log() + lost * shares.log() + rest * (1 - 2 * shares - end).log()
        share = float(shares[likelihood.argmax()])
        error = math.sqrt((2 * share + end - end**2) / samples)
        assert abs((gained - lost) / samples - end) / error == pytest.approx(1.959964, abs=2e-3)


def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    drawn = torch.Generator().manual_seed(1)
    held, rounds, samples, gain, loss = 0, 400, 200, 0.02, 0.05
    for _ in range(rounds):
        chance = torch.rand(samples, generator=drawn)
        low, high = tango(int((chance < gain).sum()), int((chance > 1 - loss).sum()), samples, 0.95)
        held += low <= gain - loss <= high
    assert 0.92 <= held / rounds <= 0.98


def test_right_and_wrong_by_the_score_anything_else_by_the_bootstrap() -> None:
    before = torch.tensor([1.0, 1.0, 0.0, 1.0] * 25)
    after = before.clone()
    same = difference(before, after)
    assert same.value == 0
    assert (same.low, same.high) == tango(0, 0, 100, 0.95)
    assert same.low < 0 < same.high
    after[:3] = torch.tensor([0.0, 0.0, 1.0])
    found = difference(before, after)
    assert found.value == pytest.approx(-0.01)
    assert (found.low, found.high) == tango(1, 2, 100, 0.95)
    drawn = torch.Generator().manual_seed(0)
    losses = torch.rand(400, generator=drawn, dtype=torch.float64)
    worse = losses + 0.1 + 0.05 * torch.randn(400, generator=drawn, dtype=torch.float64)
    found = difference(losses, worse)
    assert found.value == pytest.approx(float((worse - losses).mean()))
    half = 1.96 * float((worse - losses).std()) / 20
    assert (found.low, found.high) == (
        pytest.approx(found.value - half, rel=0.1),
        pytest.approx(found.value + half, rel=0.1),
    )


def test_other_samples_are_refused() -> None:
    for wrong in (torch.zeros(3), torch.zeros(2, 2), torch.zeros(0)):
        with pytest.raises(ValueError, match="one a sample"):
            difference(torch.zeros(wrong.shape if wrong.ndim > 1 or not len(wrong) else (2,)), wrong)
