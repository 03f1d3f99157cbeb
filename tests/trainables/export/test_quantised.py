"""Graphs that are made once, and the INT8 copies that validate a run."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from torch import Tensor, nn

from tests.trainables.export.test_graph import EACH
from trainables.export import Quantised, Session, Template, Tolerance, dynamic, exported, parity
from trainables.export.template import same, stirred


@cache
def made(name: str) -> tuple[nn.Module, Tensor, Quantised]:
    """A module, samples for it, and its graph in eight bits."""
    module, x = EACH[name].built(dtype=torch.float32), EACH[name].batch(6, torch.float32)
    return module, x, Quantised(module, [x])


@pytest.mark.parametrize("name", ["mlp, norm", "cnn", "lstm"])
def test_the_copy_is_near_whatever_the_weights_have_become(name: str) -> None:
    module, x, quantised = made(name)
    later = stirred(module)
    assert not same(quantised.model(module), quantised.model(later))
    with torch.no_grad():
        expected = later(x)
    assert 0 < float((quantised.copied(later)(x) - expected).abs().max()) < 0.15 * float(expected.abs().max())


@pytest.mark.parametrize(("name", "quick"), [("mlp, norm", True), ("lstm", False)])
def test_weights_put_in_are_those_of_a_graph_that_is_made_anew(name: str, *, quick: bool) -> None:
    """The weights of products alone are quantised anew where they stand in the graph as in the module, elsewhere all of it."""
    module, x, quantised = made(name)
    assert quantised.quick is quick
    later = stirred(module)
    anew = Session(dynamic(exported(later, [x])))(x)
    assert parity(anew, quantised.copied(later)(x), Tolerance(absolute=1e-4, relative=1e-3)).passed


def test_a_template_takes_the_weights_of_another_module() -> None:
    case = EACH["residual mlp"]
    module, x = case.built(dtype=torch.float32), case.batch(5, torch.float32)
    template, other = Template(module, [x]), case.built(seed=1, dtype=torch.float32).eval()
    assert template.exchanges
    with torch.no_grad():
        assert parity(other(x), Session(template.filled(other))(x), Tolerance(absolute=1e-5, relative=1e-4)).passed
        assert parity(module.eval()(x), Session(template.filled(module))(x), Tolerance(absolute=1e-5)).passed


def test_square_weights_are_not_turned() -> None:
    """Their shape does not tell which way round they lie."""
    module = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4))
    x = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    quantised, other = Quantised(module, [x]), stirred(module)
    with torch.no_grad():
        expected = other(x)
    assert float((quantised.copied(other)(x) - expected).abs().max()) < 0.05 * float(expected.abs().max())


def test_weights_that_are_not_finite_have_no_copy() -> None:
    module = nn.Sequential(nn.Linear(3, 2))
    quantised = Quantised(module, [torch.randn(2, 3)])
    with torch.no_grad():
        module[0].weight[0, 0] = float("nan")
    assert quantised.copied(module) is module
