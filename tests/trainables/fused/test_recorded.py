"""What is recorded does the same again, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn import functional
from torch.testing import assert_close

from trainables.fused.kernels import SHORT, turned
from trainables.fused.recorded import recorded

MEMBERS, BATCH = 3, 8
NORM = nn.LayerNorm(6).double()


def step(loss: Callable[[Tensor, Tensor], Tensor]) -> Callable[..., tuple[Tensor, Tensor]]:
    """Loss and gradient of a layer with a norm: some operations of their gradients take lists of booleans."""

    def call(flat: Tensor, x: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        weight = flat.detach().requires_grad_()
        found = loss(functional.layer_norm(x, NORM.normalized_shape, NORM.weight, NORM.bias) @ weight, target)
        (gradient,) = torch.autograd.grad(found, weight)
        return found.detach(), gradient

    return call


def drawn(classes: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor]:
    weight, x = torch.randn(MEMBERS, 6, classes, dtype=dtype), torch.randn(MEMBERS, BATCH, 6, dtype=dtype)
    return weight, x, torch.randint(0, classes, (MEMBERS, BATCH))


def entropy(output: Tensor, target: Tensor) -> Tensor:
    return functional.cross_entropy(output.flatten(0, 1), target.flatten())


def focal(output: Tensor, target: Tensor) -> Tensor:
    chances = output.softmax(-1).gather(-1, target.unsqueeze(-1))
    return -((1 - chances) ** 2 * chances.log()).mean()


@pytest.mark.parametrize("loss", [entropy, focal])
@pytest.mark.parametrize("classes", [2, 10, SHORT, 40])
def test_a_recording_does_the_same_with_other_values(loss: Callable[[Tensor, Tensor], Tensor], classes: int) -> None:
    call = step(loss)
    played = recorded(call, drawn(classes))
    for _ in range(4):  # the interpreter looks at the first calls
        values = drawn(classes)
        with torch.no_grad():
            found = played(*values)
        assert_close(found, call(*values), rtol=1e-12, atol=1e-13)


def test_a_recording_runs_without_python() -> None:
    played = recorded(step(entropy), drawn(10))
    assert type(played).__name__ == "ScriptMethod"


def test_neither_arguments_nor_generators_change() -> None:
    def call(x: Tensor, kept: Tensor) -> Tensor:
        kept.add_(1.0)
        return functional.dropout(x, 0.5) + kept

    x, kept = torch.ones(100), torch.zeros(100)
    torch.manual_seed(3)
    before = torch.get_rng_state()
    played = recorded(call, (x, kept))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(kept, torch.zeros(100))
    first = played(x, kept)
    assert torch.equal(kept, torch.ones(100))
    torch.manual_seed(3)
    assert torch.equal(call(x, torch.zeros(100)), first)


def test_what_the_interpreter_cannot_take_is_played_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> Any:
        raise RuntimeError("no")

    call, values = step(entropy), drawn(10)
    monkeypatch.setattr(torch.jit, "script", refused)
    played = recorded(call, values)
    assert type(played).__name__ != "ScriptMethod"
    assert_close(played(*values), call(*values))


@pytest.mark.parametrize(("classes", "dim"), [(2, 1), (SHORT - 1, 1), (SHORT, 2), (40, 2)])
def test_softmaxes_over_few_classes_go_through_another_dimension(classes: int, dim: int) -> None:
    def both(output: Tensor, target: Tensor) -> Tensor:
        picked = output.log_softmax(-1).gather(-1, target.unsqueeze(-1))
        return focal(output, target) - picked.mean()

    module, values = make_fx(step(both))(*drawn(classes)), drawn(classes)
    turned(module.graph)
    module.recompile()
    found = [
        node.args[2 if "backward" in str(node.target) else 1]
        for node in module.graph.nodes
        if "softmax" in str(node.target)
    ]
    assert [number % 3 for number in found] == [dim] * 4
    assert_close(module(*values), step(both)(*values), rtol=1e-12, atol=1e-13)
