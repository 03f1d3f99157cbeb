"""Blocks against their formulas."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from trainables.models import MLP, ResidualMLP, StateSpace
from trainables.models.diagonal_states import DiagonalStates


def built(model: MLP | ResidualMLP | StateSpace) -> nn.Module:
    torch.manual_seed(0)
    return model.build().double()


def linear(module: nn.Module, name: str, x: Tensor) -> Tensor:
    return functional.linear(x, module.get_parameter(f"{name}.weight"), module.get_parameter(f"{name}.bias"))


def test_the_perceptron_is_its_formula() -> None:
    module = built(MLP(widths=(5, 4), inputs=6, outputs=2, norm=True, activation="tanh"))
    x = torch.randn(3, 2, 3, dtype=torch.float64)
    hidden = x.flatten(1)
    for index, width in enumerate((5, 4)):
        hidden = functional.layer_norm(linear(module, f"blocks.{index}.0", hidden), (width,)).tanh()
    torch.testing.assert_close(module(x), linear(module, "head", hidden), rtol=0, atol=1e-12)


def test_the_default_perceptron_is_linear_layers_with_relu_and_nothing_else() -> None:
    module = built(MLP(inputs=6, outputs=2))
    kinds = [type(part) for part in module.modules() if not list(part.children())]
    assert kinds == [nn.Flatten, nn.Linear, nn.ReLU, nn.Linear, nn.ReLU, nn.Linear]
    rate = built(MLP(inputs=6, outputs=2, dropout=0.0))
    assert sum(isinstance(part, nn.Dropout) for part in rate.modules()) == 2


def test_the_residual_perceptron_adds_to_what_runs_through() -> None:
    module = built(ResidualMLP(width=4, depth=2, expansion=3, inputs=6, outputs=2, activation="gelu"))
    x = torch.randn(3, 6, dtype=torch.float64)
    hidden = linear(module, "embed", x)
    for index in range(2):
        inner = functional.gelu(linear(module, f"blocks.{index}.body.1", functional.layer_norm(hidden, (4,))))
        hidden = hidden + linear(module, f"blocks.{index}.body.4", inner)
    expected = linear(module, "head", functional.layer_norm(hidden, (4,)))
    torch.testing.assert_close(module(x), expected, rtol=0, atol=1e-12)


def test_a_state_space_block_is_its_formula() -> None:
    module = built(StateSpace(width=4, depth=1, states=2, inputs=3, outputs=2))
    states = module.get_submodule("blocks.0.body.1")
    assert isinstance(states, DiagonalStates)
    x = torch.randn(3, 7, 4, dtype=torch.float64)
    hidden = functional.gelu(states.recurrent(functional.layer_norm(x, (4,))))
    value, gate = linear(module, "blocks.0.body.4", hidden).chunk(2, dim=-1)
    torch.testing.assert_close(module.get_submodule("blocks.0")(x), x + value * gate.sigmoid(), rtol=0, atol=1e-10)
