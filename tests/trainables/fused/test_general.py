"""A recording of a pack's step serves packs of other sizes, or says that it does not."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.testing import assert_close

from tests.trainables.fused.alike import COMPUTED, RECORDED, alone, assert_alike, pack_of, program_of, started
from tests.trainables.fused.test_architectures import MODELS, task
from tests.trainables.fused.test_settings import Built
from trainables import BF16, FP64, AdamW, Maximise, Recipe, Splits, Task, accuracy
from trainables.fused.recorded import Recording
from trainables.models import MLP
from trainables.recipe import Model
from trainables.run import Run
from trainables.seeds import generator
from trainables.splitting import random

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
def test_it_plays_smaller_packs(call: Callable[[Tensor, Tensor], Tensor], size: int) -> None:
    recording = Recording(call, values(size), 2)
    for other in (size, *(smaller for smaller in SIZES if smaller < size), size):
        for _ in range(3):  # the interpreter looks at the first calls
            given = values(other)
            played = recording.player(given)
            assert type(played).__name__ == "ScriptFunction"
            assert played is not None
            assert_close(played(*given), call(*given), rtol=1e-12, atol=1e-13)
    assert [recording.player(values(other)) for other in (1, size + 1)] == [None, None]


def test_what_members_share_stays_as_it_is() -> None:
    def call(weight: Tensor, x: Tensor) -> Tensor:
        return torch.einsum("nw,kwo->kno", x, weight)

    x = torch.randn(3, 3).double()
    recording = Recording(call, (values(64)[1], x), 1)
    for members in SIZES:
        weight = values(members)[1]
        played = recording.player((weight, x))
        assert played is not None
        assert_close(played(weight, x), call(weight, x), rtol=1e-12, atol=1e-13)


def by_a_share(x: Tensor, _: Tensor) -> Tensor:
    return x * (1 / len(x))


def by_a_branch(x: Tensor, _: Tensor) -> Tensor:
    return x.exp() if len(x) > 5 else x.sin()


def by_a_limit(x: Tensor, _: Tensor) -> Tensor:
    return x.new_ones(min(len(x), 7)) * x.sum()


def by_a_constant(x: Tensor, _: Tensor) -> Tensor:
    return x * torch.tensor([1.0] * len(x)).view(-1, 1, 1)


def by_lines(x: Tensor, _: Tensor) -> Tensor:
    return torch.stack([line.sum() for line in x])


def by_a_square(x: Tensor, _: Tensor) -> Tensor:
    return x.new_ones(len(x) ** 2)


@pytest.mark.parametrize("size", [3, 8, 64])
@pytest.mark.parametrize("call", [by_a_share, by_a_branch, by_a_limit, by_a_constant, by_lines, by_a_square])
def test_what_goes_by_the_size_in_another_way_is_for_that_size_alone(
    call: Callable[[Tensor, Tensor], Tensor], size: int
) -> None:
    recording = Recording(call, values(size), 2)
    for other in (2, 5, 7, 16, size):
        given = values(other)
        played = recording.player(given)
        # Up to a limit there is no other way.
        assert (played is None) == (
            other != size and (other > size or size > 7 or call not in (by_a_branch, by_a_limit))
        )
        if played is not None:
            assert_close(played(*given), call(*given), rtol=1e-12, atol=0.0)


def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of packs of which anything is recorded from now on."""
    made: list[int] = []
    begin = Recording.__init__

    def noted(
        self: Recording, call: Callable[..., Tensor], arguments: tuple[Tensor, ...], *rest: int, **more: int
    ) -> None:
        made.append(len(arguments[0]))
        begin(self, call, arguments, *rest, **more)

    monkeypatch.setattr(Recording, "__init__", noted)
    return made


def in_turn(base: Recipe, sizes: tuple[int, ...], recorded_from: int = RECORDED, task: Task = task) -> list[Run]:
    """Members after an epoch in each of packs of these sizes."""
    own = [replace(base, seed=seed, optimizer=AdamW(lr=0.01 * (seed + 1))) for seed in range(max(sizes))]
    runs = [started(task, recipe) for recipe in own]
    program = program_of(runs[0], recorded_from)
    for size in sizes:
        pack = pack_of(runs[:size], program)
        pack.epoch()
        assert pack._passes._together  # no pass has failed
    return runs


def assert_as_alone(runs: list[Run], sizes: tuple[int, ...], task: Task = task, near: float = 1e-12) -> None:
    for number, run in enumerate(runs):
        assert_alike(run, alone(task, run.recipe, sum(size > number for size in sizes)), near)


def of(model: Model, **changes: Any) -> Recipe:
    return Recipe(**{"model": model, "batch_size": 6, "precision": FP64(), **changes})


def test_a_larger_pack_is_recorded_and_serves_more(monkeypatch: pytest.MonkeyPatch) -> None:
    made = counted(monkeypatch)
    assert_as_alone(in_turn(of(MODELS["mlp"]), (2, 4, 3, 2)), (2, 4, 3, 2))
    assert {*made} == {2, 4}


@pytest.mark.parametrize("name", [name for name in MODELS if name != "cnn batch"])
def test_every_architecture_is_recorded_once_for_packs_of_all_sizes(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made = counted(monkeypatch)
    in_turn(of(MODELS[name]), (4, 4, 4, 4))
    kinds = len(made)  # of batches and sets
    made.clear()
    assert_as_alone(in_turn(of(MODELS[name]), (4, 3, 2, 4)), (4, 3, 2, 4))
    assert len(made) == kinds > 2


def test_what_is_played_by_python_serves_all_sizes_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainables.fused.recorded.interpreted", lambda *_: None)
    assert_as_alone(in_turn(of(MODELS["mlp"]), (4, 3, 2, 4)), (4, 3, 2, 4))


@pytest.mark.parametrize(
    ("changes", "near"),
    [
        ({"model": MLP(widths=(5, 4), dropout=0.3)}, 1e-12),
        ({"precision": FP64(), "deterministic": True}, 0.0),
        ({"precision": BF16()}, 1e-2),
    ],
    ids=["dropout", "deterministic", "BF16"],
)
def test_packs_of_other_sizes_are_played_as_they_are_computed(changes: dict[str, Any], near: float) -> None:
    base = of(**{"model": MLP(widths=(5, 4)), **changes})
    played, computed = (in_turn(base, (4, 3, 2, 4), recorded_from) for recorded_from in (RECORDED, COMPUTED))
    for run, its in zip(played, computed, strict=True):
        assert_alike(run, its, near)


@pytest.mark.filterwarnings("ignore:There is a performance drop")
def test_where_another_size_does_something_else_each_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch's own attention is computed member by member."""
    layer = partial(nn.TransformerEncoderLayer, 6, 2, 8, dropout=0.0, batch_first=True)
    base = of(Built(lambda: nn.Sequential(nn.Linear(2, 6), layer(), nn.Flatten(), nn.Linear(24, 4)).double()))
    made = counted(monkeypatch)
    assert_as_alone(in_turn(base, (4, 3, 2, 4)), (4, 3, 2, 4), near=1e-10)
    assert {*made} == {2, 3, 4}
    made.clear()
    in_turn(base, (4, 4, 3), recorded_from=5)
    assert made == [
        4,
        3,
    ]  # a step of four, which is the fifth; then, of three, the fifth look at a set, but no fourth step


def test_no_more_recordings_for_single_sizes_are_kept_than_are_of_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainables.fused.program.KEPT", 2)
    monkeypatch.setattr(Recording, "_generalised", lambda *_: None)
    runs = [started(task, of(MODELS["linear"], seed=seed)) for seed in range(7)]
    program = program_of(runs[0], RECORDED)
    for size in range(7, 1, -1):
        pack_of(runs[:size], program).epoch()
        assert len(program._particular) <= 2
    assert len(program._particular) == 2
    assert_as_alone(runs, (7, 6, 5, 4, 3, 2))


def test_what_cannot_be_recorded_is_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: Any) -> None:
        raise ValueError("asks for a number")

    monkeypatch.setattr("trainables.fused.program.Recording", failing)
    assert_as_alone(in_turn(of(MODELS["mlp"]), (3, 2)), (3, 2))


def pictures(seed: int) -> Splits:
    """Validation sets of more samples than are looked at at once, and of their own for each seed."""
    drawn = torch.randn(1500, 1, 4, 4, generator=generator("pictures"), dtype=torch.float64)
    return random(drawn, drawn.flatten(1).argmax(1) % 3, seed=seed)


def striped(_: int) -> Splits:
    """Every other sample of what all have in common."""
    splits = pictures(0)

    def half(tensors: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        return tuple(tensor[::2] for tensor in tensors)

    return Splits(train=half(splits.train), val=half(splits.val), test=half(splits.test))


@pytest.mark.parametrize("data", [pictures, striped])
@pytest.mark.parametrize("first", [nn.AvgPool2d(2), nn.GroupNorm(1, 1, dtype=torch.float64), nn.Identity()])
def test_sets_that_do_not_lie_densely(data: Callable[[int], Splits], first: nn.Module) -> None:
    width = 4 if isinstance(first, nn.AvgPool2d) else 16

    def built() -> nn.Module:
        return nn.Sequential(copy.deepcopy(first), nn.Flatten(), nn.Linear(width, 3, dtype=torch.float64))

    given = Task(name="pictures", data=data, metrics={"accuracy": accuracy}, goal=Maximise("accuracy"))
    base = of(Built(built), batch_size=128)
    assert_as_alone(in_turn(base, (3, 3, 2), task=given), (3, 3, 2), given)
