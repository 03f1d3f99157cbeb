"""Graphs that are made once, and the INT8 copies that validate a run."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tests.trainables.models.members import CASES
from trainables.export import Quantised, Session, Template, Tolerance, dynamic, exported, parity
from trainables.export.template import same, stirred


@pytest.mark.parametrize("name", ["mlp, norm", "cnn", "lstm", "transformer"])
def test_weights_put_in_are_those_of_a_graph_that_is_made_anew(name: str) -> None:
    case = CASES[name]
    module, x = case.built(dtype=torch.float32), case.batch(6, torch.float32)
    quantised = Quantised(module, [x])
    later = stirred(module)
    assert not same(quantised.model(module), quantised.model(later))
    with torch.no_grad():
        expected = later(x)
    copied = quantised.copied(later)
    anew = Session(dynamic(exported(later, [x])))(x)
    assert torch.equal(copied(x), anew) or parity(anew, copied(x), Tolerance(absolute=1e-3, relative=0.02)).passed
    assert 0 < float((copied(x) - expected).abs().max()) < 0.15 * float(expected.abs().max())


def test_products_of_the_module_s_own_weights_are_quantised_alone() -> None:
    assert Quantised(CASES["mlp"].built(dtype=torch.float32), [CASES["mlp"].batch(3, torch.float32)]).quick
    assert not Quantised(CASES["lstm"].built(dtype=torch.float32), [CASES["lstm"].batch(3, torch.float32)]).quick


def test_a_template_takes_the_weights_of_another_module() -> None:
    case = CASES["residual mlp"]
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
