"""The recorder misses no operation, and the interpreter is handed each as it is."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.func import vmap
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn import functional
from torch.testing import assert_close

from trainables.fused.interpreted import interpreted
from trainables.fused.recorder import copied, traced


def in_place(x: Tensor) -> Tensor:
    y = x * 2
    y.add_(1).mul_(x)
    y[0].zero_()
    y[:, 1] = x[:, 0]
    return y


def in_parts(x: Tensor) -> tuple[Tensor, Tensor]:
    first, second, *_ = torch.split(x, 2, 1)
    values, places = torch.cat([second, first], 1).topk(2)
    return values + x.unbind(1)[-1].unsqueeze(1), places


def with_numbers(x: Tensor) -> Tensor:
    begun = torch.tensor([2.0, 3.0])
    begun += x[0, :2]  # written into, and begins anew all the same
    return x * torch.arange(6.0) + begun.sum() + torch.ones_like(x)


def by_places(x: Tensor) -> Tensor:
    return (
        x[:, torch.tensor([0, 2])]
        .index_fill(1, torch.tensor([1]), float("-inf"))
        .masked_fill(x[:, :2] > 1, float("nan"))
    )


def nothing_new(x: Tensor) -> tuple[Tensor, Tensor]:
    return x, x.detach()


def laid_otherwise(x: Tensor) -> Tensor:
    wide = x.view(1, 1, 6, 6).expand(2, 3, 6, 6).contiguous(memory_format=torch.channels_last)
    return functional.interpolate(functional.conv2d(wide, wide[:2, :, :3, :3], padding=1), scale_factor=2.0).to(
        torch.float64
    )


def own_gradient(x: Tensor) -> Tensor:
    leaf = x.detach().requires_grad_()
    found = functional.layer_norm(leaf, (6,)).tanh().std(0).sum() + functional.gelu(leaf @ leaf).pow(2).mean()
    gradient: Tensor = torch.autograd.grad(found, leaf)[0]
    return gradient


def of_many(x: Tensor) -> Tensor:
    return vmap(lambda row: functional.softmax(row.outer(row), 0) @ row)(x)


def half_the_bits(x: Tensor) -> Tensor:
    with torch.autocast("cpu", torch.bfloat16):
        return own_gradient(functional.linear(x, x))


CALLS = [
    in_place,
    in_parts,
    with_numbers,
    by_places,
    nothing_new,
    laid_otherwise,
    own_gradient,
    of_many,
    half_the_bits,
]


@pytest.mark.parametrize("call", CALLS)
def test_it_is_what_the_function_does(call: Callable[[Tensor], Tensor | tuple[Tensor, ...]]) -> None:
    module = traced(call, (torch.randn(6, 6),))
    played = interpreted(module, (torch.randn(6, 6),))
    assert played is not None
    for _ in range(4):  # the interpreter looks at the first calls
        x = torch.randn(6, 6)
        expected = call(x.clone())
        for found in (module(x.clone()), played(x.clone())):
            assert_close(found, expected, rtol=0.0, atol=0.0, equal_nan=True)


@pytest.mark.parametrize("call", CALLS)
def test_operations_are_those_that_torch_finds(call: Callable[[Tensor], Tensor | tuple[Tensor, ...]]) -> None:
    def operations(graph: torch.fx.Graph) -> list[str]:
        graph.eliminate_dead_code()
        called = [str(node.target) for node in graph.nodes if node.op == "call_function"]
        return [name for name in called if "detach" not in name]

    x = torch.randn(6, 6)
    assert operations(traced(call, (x,)).graph) == operations(make_fx(call)(x).graph)


def test_shapes_and_strides_are_kept_without_the_memory() -> None:
    module = traced(lambda x: torch.split(x.t() + 1, 2)[0], (torch.zeros(4, 6),))
    laid = {node.name: node.meta["val"] for node in module.graph.nodes if node.op != "output"}
    assert all(tensor.is_meta for tensor in laid.values() if isinstance(tensor, Tensor))
    assert [tuple(part.shape) for part in laid["split_tensor"]] == [(2, 4)] * 3
    assert (laid["add_tensor"].shape, laid["add_tensor"].stride()) == ((6, 4), (1, 6))


def test_what_is_no_longer_needed_is_freed_while_it_is_recorded() -> None:
    held: list[weakref.ref[Tensor]] = []

    def call(x: Tensor) -> Tensor:
        for _ in range(5):
            x = x + 1
            held.append(weakref.ref(x))
        gc.collect()
        assert [one() is None for one in held] == [True] * 4 + [False]
        return x

    traced(call, (torch.zeros(3),))


@pytest.mark.parametrize(
    ("call", "why"),
    [
        (lambda x: x * x.sum().item(), "asks for a number"),
        (lambda x: x if x.sum() > 0 else -x, "asks for a number"),
        (lambda x: x * (x > 0).nonzero().shape[0], "as many as there are"),
        (lambda x: x * x.unique().numel(), "as many as there are"),
        (lambda x: x[x > 0].sum(), "as many as there are"),
        (lambda x: x + ELSEWHERE, "is not given"),
        (lambda _: ELSEWHERE, "is not given"),
    ],
)
def test_what_may_be_something_else_at_the_next_call_is_refused(call: Callable[[Tensor], Tensor], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        traced(call, (torch.ones(3),))


ELSEWHERE = torch.arange(3.0)


@pytest.mark.parametrize(
    "tensor",
    [
        torch.randn(3, 4, 5),
        torch.randn(3, 8, 5)[:, :4],
        torch.randn(6, 4, 10)[::2, :, ::2],
        torch.randn(4, 3, 5).transpose(0, 1),
        torch.randn(4, 5).expand(3, 4, 5),
        torch.randn(3, 1, 5).expand(3, 4, 5),
        torch.randn(3),
        torch.tensor(2.0),
        torch.empty(0, 4),
    ],
)
def test_a_copy_lies_as_the_tensor_does(tensor: Tensor) -> None:
    copy = copied(tensor)
    assert torch.equal(copy, tensor)
    assert copy.stride() == tensor.stride()
    assert copy.data_ptr() != tensor.data_ptr() or not tensor.numel()


def test_a_function_s_error_is_its_own() -> None:
    with pytest.raises(RuntimeError, match="cannot be multiplied"):
        traced(lambda x: x @ x, (torch.ones(1, 4),))
    assert torch.ones(2).add(1).tolist() == [2.0, 2.0]  # and the recorder is off
