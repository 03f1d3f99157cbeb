"""Calibration against planted classifiers whose truth is known."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from trainables.calibration import brier, calibration_error, negative_log_likelihood, reliability, temperature


def says(confidence: float, right: int, of: int) -> tuple[Tensor, Tensor]:
    """``of`` samples of two classes, all with this confidence for class 0, of which ``right`` are of class 0."""
    probabilities = torch.tensor([[confidence, 1 - confidence]], dtype=torch.float64).repeat(of, 1)
    return probabilities, torch.tensor([0] * right + [1] * (of - right))


def joined(*groups: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    probabilities, targets = zip(*groups, strict=True)
    return torch.cat(probabilities), torch.cat(targets)


def planted(samples: int = 20_000) -> tuple[Tensor, Tensor]:
    """Logits of five classes, and classes drawn from exactly their softmax."""
    drawn = torch.Generator().manual_seed(5)
    logits = 2 * torch.randn(samples, 5, generator=drawn, dtype=torch.float64)
    return logits, torch.multinomial(logits.softmax(1), 1, generator=drawn).squeeze(1)


def test_perfect_calibration_has_no_error() -> None:
    probabilities, target = joined(says(0.6, 60, 100), says(0.75, 75, 100), says(0.95, 95, 100))
    assert calibration_error(probabilities, target) == pytest.approx(0.0, abs=1e-12)
    assert calibration_error(probabilities, target, bins=3, adaptive=True) == pytest.approx(0.0, abs=1e-12)


def test_over_confidence_is_the_gap_weighted_by_samples() -> None:
    probabilities, target = joined(says(0.95, 70, 100), says(0.65, 195, 300))
    assert calibration_error(probabilities, target) == pytest.approx(0.25 * 0.25 + 0.75 * 0.0, rel=1e-12)


def test_adaptive_bins_see_what_equal_widths_hide() -> None:
    """Confidences of one wide bin whose errors cancel: too sure above, not sure enough below."""
    probabilities, target = joined(says(0.94, 100, 100), says(0.995, 93, 100))
    assert calibration_error(probabilities, target) == pytest.approx(0.9675 - 0.965, rel=1e-9)
    assert calibration_error(probabilities, target, bins=2, adaptive=True) == pytest.approx(
        (0.06 + 0.065) / 2, rel=1e-9
    )


def test_the_reliability_table_holds_every_sample_once() -> None:
    probabilities, target = joined(says(0.6, 1, 2), says(0.8, 2, 2), says(1.0, 3, 3))
    table = reliability(probabilities, target, bins=5)
    assert [row.count for row in table] == [0, 0, 2, 2, 3]
    assert [row.accuracy for row in table] == [None, None, 0.5, 1.0, 1.0]
    assert [row.confidence for row in table] == [None, None, *(pytest.approx(c) for c in (0.6, 0.8, 1.0))]
    assert [row.high for row in table] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert [row.low for row in table] == pytest.approx([0.0, 0.2, 0.4, 0.6, 0.8])
    even = reliability(probabilities, target, bins=3, adaptive=True)
    assert [row.count for row in even] == [3, 2, 2]
    assert (even[0].low, even[-1].high) == (0.0, 1.0)
    assert sum(row.count for row in reliability(probabilities, target, bins=50, adaptive=True)) == 7


def test_brier_and_likelihood_are_their_definitions() -> None:
    probabilities = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.1, 0.8]], dtype=torch.float64)
    target = torch.tensor([0, 1])
    assert brier(probabilities, target) == pytest.approx((0.09 + 0.04 + 0.01 + 0.01 + 0.81 + 0.64) / 2, rel=1e-12)
    expected = -(math.log(0.7) + math.log(0.1)) / 2
    assert negative_log_likelihood(probabilities, target) == pytest.approx(expected, rel=1e-12)
    sure = torch.tensor([[1.0, 0.0]])
    assert brier(sure, torch.tensor([1])) == 2.0
    assert brier(sure, torch.tensor([0])) == 0.0
    assert negative_log_likelihood(sure, torch.tensor([1])) == math.inf


@pytest.mark.parametrize("factor", [0.5, 1.0, 3.0])
def test_temperature_is_found_again(factor: float) -> None:
    """Logits whose softmax is the truth, multiplied by a factor: that factor takes them back."""
    logits, target = planted()
    found = temperature(factor * logits, target)
    assert found == pytest.approx(factor, rel=0.03)
    assert temperature((factor * logits).float(), target) == pytest.approx(found, rel=1e-4)


def test_scaling_mends_an_over_confident_model() -> None:
    logits, target = planted()
    before = (3 * logits).softmax(1)
    after = (3 * logits / temperature(3 * logits, target)).softmax(1)
    assert (before.argmax(1) == after.argmax(1)).all()
    for adaptive in (False, True):
        assert calibration_error(before, target, adaptive=adaptive) > 0.1
        assert calibration_error(after, target, adaptive=adaptive) < 0.015
    assert negative_log_likelihood(after, target) < negative_log_likelihood(before, target)
    assert brier(after, target) < brier(before, target)


def test_the_temperature_is_the_best_of_a_grid() -> None:
    logits, target = planted(500)
    best = functional.cross_entropy(logits / temperature(logits, target), target).item()
    for tried in torch.linspace(0.5, 2, 301, dtype=torch.float64):
        assert functional.cross_entropy(logits / tried, target).item() >= best - 1e-12


def test_a_temperature_without_a_best_stays_in_its_limits() -> None:
    sure = torch.eye(4, dtype=torch.float64) * 3
    assert temperature(sure, torch.arange(4)) == 0.01
    assert temperature(sure, torch.tensor([1, 2, 3, 0])) == pytest.approx(100.0)


@pytest.mark.parametrize("function", [calibration_error, brier, negative_log_likelihood, reliability])
def test_what_are_no_probabilities_is_said(function: object) -> None:
    assert callable(function)
    with pytest.raises(ValueError, match="softmax"):
        function(torch.tensor([[2.0, -1.0]]), torch.tensor([0]))
    with pytest.raises(ValueError, match=r"\(1, 2\) against targets \(2,\)"):
        function(torch.tensor([[0.5, 0.5]]), torch.tensor([0, 1]))
    with pytest.raises(ValueError, match="N from 1"):
        function(torch.ones(0, 2), torch.ones(0, dtype=torch.long))
