"""Gradient noise."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import nn

from tests.trainables.small import recipe, task
from trainables import SGD, ClipNorm
from trainables.fit import fit
from trainables.noise import GradientNoise
from trainables.recipe import Part
from trainables.run import Run

SHAPES = ((300, 40), (50,), (20, 10, 5))


def parameters(fill: float = 0.0) -> list[nn.Parameter]:
    made = [nn.Parameter(torch.zeros(shape, dtype=torch.float64)) for shape in SHAPES]
    for parameter in made:
        parameter.grad = torch.full_like(parameter, fill)
    return made


def drawn(noise: GradientNoise, step: int, seed: int, fill: float = 0.0) -> torch.Tensor:
    asked = parameters(fill)
    noise(asked, step, seed)
    return torch.cat([parameter.grad.flatten() for parameter in asked if parameter.grad is not None])


@pytest.mark.parametrize(("eta", "gamma"), [(0.01, 0.55), (1.0, 0.55), (0.3, 0.0)])
@pytest.mark.parametrize("step", [0, 1, 99])
def test_its_variance_is_the_paper_s(eta: float, gamma: float, step: int) -> None:
    values = drawn(GradientNoise(eta=eta, gamma=gamma), step, 0)
    expected = math.sqrt(eta / (1 + step) ** gamma)
    # Thirteen thousand draws: a standard error of 0.9 % of the deviation for the mean, 0.6 % for the deviation itself.
    assert values.mean().item() == pytest.approx(0.0, abs=4 * 0.009 * expected)
    assert values.std().item() == pytest.approx(expected, rel=4 * 0.006)
    assert GradientNoise(eta=eta, gamma=gamma).deviation(step) == pytest.approx(expected)
    below = (values < expected).double().mean().item()  # normal, not only of that variance
    assert below == pytest.approx(0.8413, abs=0.015)


def test_it_is_added_to_the_gradient() -> None:
    noise = GradientNoise()
    torch.testing.assert_close(drawn(noise, 3, 1, fill=2.0), drawn(noise, 3, 1) + 2.0, rtol=0, atol=1e-15)


def test_seed_and_step_govern_what_is_drawn_and_nothing_else_does() -> None:
    noise = GradientNoise(gamma=0.0)
    first = drawn(noise, 3, 1)
    torch.manual_seed(1234)
    before = torch.get_rng_state()
    assert torch.equal(drawn(noise, 3, 1), first)
    assert torch.equal(torch.get_rng_state(), before)
    for other in (drawn(noise, 4, 1), drawn(noise, 3, 2)):
        correlation = torch.corrcoef(torch.stack([first, other]))[0, 1].item()
        assert abs(correlation) < 0.05
    one, two = first[:50], first[50:100]
    assert not torch.equal(one, two)


def test_parameters_without_gradient_are_passed_over() -> None:
    frozen, trained = nn.Parameter(torch.zeros(3)), nn.Parameter(torch.zeros(3))
    trained.grad = torch.zeros(3)
    GradientNoise()([frozen, trained], 0, 0)
    assert frozen.grad is None
    assert trained.grad.abs().min() > 0
    GradientNoise()([frozen], 0, 0)
    assert frozen.grad is None


def test_fit_adds_it_after_the_clip_and_repeats_it_after_a_resume() -> None:
    """With a clip to almost nothing, SGD's first steps are the noise alone."""
    noise = GradientNoise(eta=1.0)
    asked = recipe(optimizer=SGD(lr=0.1), noise=noise, clip=ClipNorm(1e-12), batch_size=61, epochs=4)
    run = Run.start(task, asked, splits=None, device=torch.device("cpu"))
    expected = [parameter.detach().clone() for parameter in run.parameters]
    for step in range(4):
        made = [nn.Parameter(value) for value in expected]
        for parameter in made:
            parameter.grad = torch.zeros_like(parameter)
        noise(made, step, asked.seeds.order)
        expected = [value - 0.1 * parameter.grad for value, parameter in zip(expected, made, strict=True)]  # type: ignore[operator]
    begun = fit(task, asked)
    next(begun)
    state = copy.deepcopy(next(begun).run.state())
    for epochs in (begun, fit(task, asked, state=state)):
        *_, last = epochs
        for parameter, value in zip(last.run.parameters, expected, strict=True):
            torch.testing.assert_close(parameter.detach(), value, rtol=0, atol=1e-10)


@pytest.mark.parametrize(
    ("part", "said"),
    [
        (GradientNoise(eta=0.0), "eta 0.0"),
        (GradientNoise(eta=math.inf), "eta inf"),
        (GradientNoise(gamma=-1.0), "gamma"),
    ],
)
def test_settings_that_make_no_sense_are_said(part: Part, said: str) -> None:
    conflicts = list(part.conflicts())
    assert len(conflicts) == 1
    assert said in conflicts[0]
    assert list(GradientNoise().conflicts()) == []
