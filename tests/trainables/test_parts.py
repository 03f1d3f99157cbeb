"""Parts against torch's own and against their definitions."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from trainables import (
    BF16,
    FP16,
    FP32,
    FP64,
    SGD,
    TF32,
    ClipNorm,
    Clips,
    ClipValue,
    CrossEntropy,
    MeanSquaredError,
    accuracy,
)
from trainables.metrics import absolute_error
from trainables.models import MLP
from trainables.precision import Precision
from trainables.recipe import Part
from trainables.task import Shape


def test_clip_norm_reports_the_norm_before() -> None:
    parameter = nn.Parameter(torch.zeros(2))
    parameter.grad = torch.tensor([3.0, 4.0])
    assert ClipNorm(1.0)([parameter]).item() == pytest.approx(5.0)
    assert parameter.grad.norm().item() == pytest.approx(1.0, rel=1e-5)


def test_losses_and_metrics_are_their_definitions() -> None:
    logits = torch.tensor([[2.0, 0.0, 0.0], [0.0, 0.0, 1.0]], dtype=torch.float64)
    classes = torch.tensor([0, 1])
    by_hand = -(2 - math.log(math.exp(2) + 2) + 0 - math.log(math.e + 2)) / 2
    assert CrossEntropy()(logits, classes).mean().item() == pytest.approx(by_hand, rel=1e-12)
    assert accuracy(logits, classes).tolist() == [1.0, 0.0]
    output, target = torch.tensor([[1.0], [4.0]]), torch.tensor([2.0, 2.0])
    assert MeanSquaredError()(output, target).mean().item() == pytest.approx(2.5)
    assert absolute_error(output, target).tolist() == [1.0, 2.0]
    wide = torch.tensor([[1.0, 3.0], [0.0, 0.0]])
    assert absolute_error(wide, torch.zeros(2, 2)).tolist() == [2.0, 0.0]


def test_the_mlp_takes_its_sizes_from_the_data() -> None:
    model = MLP(widths=(5, 7)).adapted(Shape(inputs=(2, 3), outputs=4))
    module = model.build()
    assert module(torch.zeros(10, 2, 3)).shape == (10, 4)
    assert sum(p.numel() for p in module.parameters()) == 6 * 5 + 5 + 5 * 7 + 7 + 7 * 4 + 4
    assert MLP(widths=(), inputs=3, outputs=2).build()(torch.zeros(1, 3)).shape == (1, 2)
    with pytest.raises(ValueError, match="lacks inputs or outputs"):
        MLP().build()
    with pytest.raises(ValueError, match="at least 1"):
        MLP(widths=(0,), inputs=2, outputs=2).build()


@pytest.mark.parametrize(
    ("part", "said"),
    [
        (ClipNorm(-1.0), "ClipNorm -1.0"),
        (ClipValue(0.0), "ClipValue 0.0"),
        (Clips(ClipValue(0.5), ClipNorm(-1.0)), "ClipNorm -1.0"),
        (FP16(init_scale=0.0), "init_scale 0.0"),
        (FP16(init_scale=math.inf), "init_scale inf"),
        (FP16(growth_factor=1.0), "growth_factor 1.0"),
        (FP16(backoff_factor=1.0), "backoff_factor 1.0"),
        (FP16(growth_interval=0), "growth_interval 0"),
    ],
)
def test_settings_that_make_no_sense_are_said(part: Part, said: str) -> None:
    conflicts = list(part.conflicts())
    assert len(conflicts) == 1
    assert said in conflicts[0]


@pytest.mark.parametrize("precision", [FP64(), FP32(), TF32(), BF16(), FP16()], ids=lambda part: type(part).__name__)
def test_every_precision_keeps_to_the_protocol(precision: Precision) -> None:
    """A scaler is new for each run, scales a loss and gives the gradient back as it was; a context may be entered again."""
    device = torch.device("cpu")
    assert list(precision.conflicts()) == []
    scaler, other = precision.scaler(device), precision.scaler(device)
    assert scaler is not other
    weight = nn.Parameter(torch.full((3,), 2.0, dtype=precision.dtype()))
    optimizer = SGD(lr=0.1).build([weight])
    for _ in range(2):
        with precision.arithmetic(), precision.autocast(device):
            loss = (weight * 3).sum()
        scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        assert scaler.unscale(optimizer)
        assert weight.grad is not None
        assert weight.grad.tolist() == [3.0, 3.0, 3.0]
        optimizer.zero_grad()
    other.load(scaler.state())
    assert other.state() == scaler.state()
    assert other.skipped == 0
