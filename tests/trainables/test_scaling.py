"""Learning-rate scaling with the batch size."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tests.trainables.small import recipe, task
from trainables.fit import fit
from trainables.recipe import Part
from trainables.scaling import LinearScaling, Scaling, SquareRootScaling


@pytest.mark.parametrize(
    ("scaling", "expected"),
    [(LinearScaling(64), [0.25, 1.0, 4.0, 0.015625]), (SquareRootScaling(64), [0.5, 1.0, 2.0, 0.125])],
)
def test_the_rules(scaling: Scaling, expected: list[float]) -> None:
    assert [scaling(batch_size) for batch_size in (16, 64, 256, 1)] == expected
    assert list(scaling.conflicts()) == []


@pytest.mark.parametrize(("scaling", "moment"), [(LinearScaling(4), 1), (SquareRootScaling(4), 2)])
def test_what_each_rule_keeps(scaling: Scaling, moment: int) -> None:
    """Of SGD's steps over as many samples: linear scaling keeps the expected way, the square root the noise's variance."""
    torch.manual_seed(0)
    noise = torch.randn(200_000, dtype=torch.float64)
    kept = []
    for batch_size in (4, 16):
        weight = nn.Parameter(torch.zeros(len(noise) // batch_size, dtype=torch.float64))
        optimizer = torch.optim.SGD([weight], lr=scaling(batch_size))
        weight.grad = noise.reshape(-1, batch_size).mean(1) + (1.0 if moment == 1 else 0.0)
        optimizer.step()
        steps = 16 // batch_size
        kept.append((-weight.detach().mean() * steps if moment == 1 else weight.detach().var()).item())
    assert kept[1] == pytest.approx(kept[0], rel=0.02)


def test_fit_scales_the_optimizer_s_lr() -> None:
    """By the effective batch, not by the micro-batch."""
    for scaling, factor in ((LinearScaling(64), 0.25), (SquareRootScaling(64), 0.5)):
        epoch = next(fit(task, recipe(batch_size=16, micro_batch=4, scaling=scaling)))
        assert epoch.lr == pytest.approx(0.1 * factor)
        assert [group["lr"] for group in epoch.run.optimizer.param_groups] == [epoch.lr]


@pytest.mark.parametrize("part", [LinearScaling(0), SquareRootScaling(-1), LinearScaling(2.5)])  # type: ignore[arg-type]
def test_a_reference_that_makes_no_sense_is_said(part: Part) -> None:
    (conflict,) = part.conflicts()
    assert "reference" in conflict
