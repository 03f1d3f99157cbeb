"""A recording of a pack's step serves packs of other sizes, or says that it does not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional
from torch.testing import assert_close

from tests.trainables.fused.alike import RECORDED, alone, assert_alike, pack_of, program_of, started
from tests.trainables.fused.test_architectures import MODELS, task
from trainables import FP64, AdamW, Recipe
from trainables.fused.recorded import Recording

SIZES = (2, 3, 5, 16, 64)


def in_proportion(x: Tensor, weight: Tensor) -> Tensor:
    """The members are in shapes, once, times a number, and alone."""
    members, samples, width = x.shape
    flat = x.reshape(members * samples, width).relu().view(members, samples, width)
    pieces = flat.new_zeros(members, 2).expand(members, 2).sum(1)
    return torch.bmm(flat, weight).sum((1, 2)) + pieces + x.new_full((2 * members,), 1.0)[:members]


def of_groups(x: Tensor, weight: Tensor) -> Tensor:
    """As vmap computes convolutions."""
    members, samples, width = x.shape
    found = functional.conv1d(x.transpose(0, 1), weight.reshape(-1, 1, width), groups=members)
    return found.view(samples, members, -1).transpose(0, 1)


def with_a_gradient(x: Tensor, weight: Tensor) -> Tensor:
    leaf = weight.detach().requires_grad_()
    losses = functional.cross_entropy(torch.bmm(x, leaf).flatten(0, 1), x.argmax(-1).flatten() % 2, reduction="none")
    (gradient,) = torch.autograd.grad(losses.view(x.shape[:2]).sum(), leaf)
    return gradient


def values(members: int) -> tuple[Tensor, Tensor]:
    return torch.randn(members, 4, 3).double(), torch.randn(members, 3, 2).double()


@pytest.mark.parametrize("size", [2, 3, 64])
@pytest.mark.parametrize("call", [in_proportion, of_groups, with_a_gradient])
def test_it_plays_packs_of_any_size(call: Callable[[Tensor, Tensor], Tensor], size: int) -> None:
    recording = Recording(call, values(size), 2)
    for other in (size, *SIZES, size):
        for _ in range(3):  # the interpreter looks at the first calls
            given = values(other)
            played = recording.player(given)
            assert type(played).__name__ == "ScriptFunction"
            assert played is not None
            assert_close(played(*given), call(*given), rtol=1e-12, atol=1e-13)
    assert recording.player(values(1)) is None


def test_what_members_share_stays_as_it_is() -> None:
    def call(weight: Tensor, x: Tensor) -> Tensor:
        return torch.einsum("nw,kwo->kno", x, weight)

    x = torch.randn(3, 3).double()
    recording = Recording(call, (values(3)[1], x), 1)
    for members in SIZES:
        weight = values(members)[1]
        played = recording.player((weight, x))
        assert played is not None
        assert_close(played(weight, x), call(weight, x), rtol=1e-12, atol=1e-13)


def by_a_share(x: Tensor, _: Tensor) -> Tensor:
    return x * (1 / len(x))


def by_a_branch(x: Tensor, _: Tensor) -> Tensor:
    return x.exp() if len(x) > 2 else x.sin()


def by_a_limit(x: Tensor, _: Tensor) -> Tensor:
    return x[: min(len(x), 3)]


def by_a_constant(x: Tensor, _: Tensor) -> Tensor:
    return x * torch.tensor([1.0] * len(x)).view(-1, 1, 1)


def by_lines(x: Tensor, _: Tensor) -> Tensor:
    return torch.stack([line.sum() for line in x])


def by_a_square(x: Tensor, _: Tensor) -> Tensor:
    return x.new_ones(len(x) ** 2)


@pytest.mark.parametrize("call", [by_a_share, by_a_branch, by_a_limit, by_a_constant, by_lines, by_a_square])
def test_what_goes_by_the_size_in_another_way_is_for_that_size_alone(call: Callable[[Tensor, Tensor], Tensor]) -> None:
    recording = Recording(call, values(4), 2)
    assert [recording.player(values(other)) for other in (3, 8)] == [None, None]
    given = values(4)
    played = recording.player(given)
    assert played is not None
    assert_close(played(*given), call(*given), rtol=0.0, atol=0.0)


def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of packs of which anything is recorded from now on."""
    made: list[int] = []
    begin = Recording.__init__

    def noted(self: Recording, call: Callable[..., Tensor], arguments: tuple[Tensor, ...], stacked: int) -> None:
        made.append(len(arguments[0]))
        begin(self, call, arguments, stacked)

    monkeypatch.setattr(Recording, "__init__", noted)
    return made


def in_turn(name: str, sizes: tuple[int, ...]) -> None:
    """Members in packs of these sizes, an epoch each, are what they are alone."""
    base = Recipe(model=MODELS[name], batch_size=6, precision=FP64())
    own = [replace(base, seed=seed, optimizer=AdamW(lr=0.01 * (seed + 1))) for seed in range(max(sizes))]
    runs = [started(task, recipe) for recipe in own]
    program = program_of(runs[0], RECORDED)
    for size in sizes:
        pack_of(runs[:size], program).epoch()
    for number, (run, recipe) in enumerate(zip(runs, own, strict=True)):
        assert_alike(run, alone(task, recipe, sum(size > number for size in sizes)))


@pytest.mark.parametrize("name", [name for name in MODELS if name != "cnn batch"])
def test_every_architecture_is_recorded_once_for_packs_of_all_sizes(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made = counted(monkeypatch)
    in_turn(name, (4, 4, 4, 4))
    kinds = len(made)  # of batches and sets
    made.clear()
    in_turn(name, (4, 3, 2, 4))
    assert len(made) == kinds > 2


def test_where_another_size_does_something_else_each_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Recording, "_generalised", lambda *_: None)
    made = counted(monkeypatch)
    in_turn("mlp", (4, 3, 2, 4))
    assert {*made} == {2, 3, 4}
