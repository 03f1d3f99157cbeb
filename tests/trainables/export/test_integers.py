"""INT8 graphs: what is quantised, how far they are off, and what is refused."""

from __future__ import annotations

from functools import cache

import onnx
import pytest
import torch
from torch import Tensor, nn

from tests.trainables.export.test_graph import EACH
from trainables.export import ExportError, Session, dynamic, exported, static
from trainables.export.integers import integers


@cache
def graph(name: str) -> tuple[nn.Module, bytes]:
    module = EACH[name].built(dtype=torch.float32).eval()
    return module, exported(module, [EACH[name].batch(4, torch.float32)])


def off(module: nn.Module, model: bytes, x: Tensor) -> float:
    """The largest difference as a share of the largest output."""
    with torch.no_grad():
        expected = module(x)
    return float((Session(model)(x) - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize("name", ["mlp, norm", "cnn"])
def test_dynamic_and_static_are_near_and_computed_in_integers(name: str) -> None:
    module, model = graph(name)
    x = EACH[name].batch(64, torch.float32)
    eight = dynamic(model)
    assert integers(model) == 0
    assert integers(eight) > 0
    assert 0 < off(module, eight, x) < 0.1
    fixed = static(model, [EACH[name].batch(200, torch.float32)])
    assert integers(fixed) > 0
    assert 0 < off(module, fixed, x) < 0.2


def test_weights_take_a_quarter() -> None:
    module = nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 10))
    model = exported(module, [torch.randn(3, 64)])
    assert len(dynamic(model)) < 0.35 * len(model)


def test_static_ranges_are_those_of_the_calibration_samples() -> None:
    """Ranges of samples that are a hundred times smaller cut off what the model meets."""
    module, model = graph("mlp, norm")
    x = EACH["mlp, norm"].batch(64, torch.float32)
    assert off(module, static(model, [x / 100]), x) > 5 * off(module, static(model, [x]), x)


def test_a_model_without_products_is_refused() -> None:
    model = exported(nn.ReLU(), [torch.randn(3, 4)])
    for quantise in (dynamic, lambda plain: static(plain, [torch.randn(8, 4)])):
        with pytest.raises(ExportError, match="nothing to quantise"):
            quantise(model)


def test_what_is_no_graph_is_refused() -> None:
    with pytest.raises(ExportError, match="cannot be quantised"):
        dynamic(onnx.ModelProto().SerializeToString() or b"\x00")
