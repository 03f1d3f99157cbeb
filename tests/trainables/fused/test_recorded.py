"""What is recorded does the same again, and nothing else."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn import functional
from torch.testing import assert_close

from trainables.fused.kernels import SHORT, turned
from trainables.fused.recorded import LONGEST, recorded

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
        return functional.dropout(x, 0.5) - functional.dropout(x, 0.5) + kept

    x, kept, beside = torch.ones(100), torch.zeros(100), torch.zeros(100)
    before = torch.get_rng_state()
    played = recorded(call, (x, kept))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(kept, torch.zeros(100))
    for seed in range(4):  # what is drawn twice must stay so when the interpreter has looked at it
        torch.manual_seed(seed)
        found = played(x, kept)
        torch.manual_seed(seed)
        assert torch.equal(call(x, beside), found)
        assert torch.equal(kept, beside)


def holed(x: Tensor) -> Tensor:
    return x.masked_fill(x > 0, float("nan"))


def long(x: Tensor) -> Tensor:
    for _ in range(LONGEST):
        x = x + 1
    return x


@pytest.mark.parametrize("call", [holed, long])
def test_what_the_interpreter_cannot_take_is_played_as_it_is(call: Callable[[Tensor], Tensor]) -> None:
    x = torch.randn(10)
    played = recorded(call, (x,))
    assert type(played).__name__ != "ScriptMethod"
    assert_close(played(x), call(x), rtol=0.0, atol=0.0, equal_nan=True)


def test_a_softmax_of_a_softmax() -> None:
    """A network that ends in one, with a loss that begins with another."""

    def call(weight: Tensor, x: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        leaf = weight.detach().requires_grad_()
        picked = (x @ leaf).softmax(-1).log_softmax(-1).gather(-1, target.unsqueeze(-1))
        (gradient,) = torch.autograd.grad(picked.sum(), leaf)
        return picked.detach(), gradient

    played, values = recorded(call, drawn(10)), drawn(10)
    assert type(played).__name__ == "ScriptMethod"
    assert_close(played(*values), call(*values), rtol=1e-12, atol=1e-13)


def test_deterministic_algorithms_are_the_same_to_the_last_bit() -> None:
    def call(weight: Tensor, x: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        leaf = weight.detach().requires_grad_()
        found = entropy(functional.layer_norm(x, (6,)) @ leaf, target)
        (gradient,) = torch.autograd.grad(found, leaf)
        return found.detach(), gradient

    torch.use_deterministic_algorithms(True)
    try:
        played = recorded(call, drawn(10, torch.float32))
    finally:
        torch.use_deterministic_algorithms(False)
    for _ in range(4):
        values = drawn(10, torch.float32)
        assert all(torch.equal(one, other) for one, other in zip(played(*values), call(*values), strict=True))


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
