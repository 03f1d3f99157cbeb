"""A pack's size is chosen by what it gains, once for each structure and machine, and nothing is touched by trying."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from trainables import SGD, AdamW, Auto, CrossEntropy, Minimise, Recipe, Seeds, Splits, Task
from trainables.fused.probe import TURNS, Choice, best, chosen
from trainables.fused.probe_cache import Cache
from trainables.models import MLP

CPU = torch.device("cpu")


@dataclass(slots=True)
class Scripted:
    """A clock by which a turn of a run alone takes a second, and one of a pack what ``packs`` says, in the order of their sizes."""

    packs: Sequence[float]
    alone: float = 1.0
    reads: int = 0
    now: float = 0.0

    def __call__(self) -> float:
        turns = (seconds for pack in self.packs for _ in range(TURNS) for seconds in (self.alone, pack))
        durations = [self.alone, *turns]
        self.reads += 1
        self.now += durations[self.reads // 2 - 1] if self.reads % 2 == 0 else 0.25
        return self.now


def never() -> float:
    raise AssertionError("measured again")


@dataclass(frozen=True, kw_only=True, slots=True)
class Drawing:
    """A model whose building draws from every generator there is."""

    width: int = 4

    def build(self) -> nn.Module:
        random.random()
        np.random.rand()
        return nn.Sequential(nn.Linear(3, self.width), nn.Tanh(), nn.Linear(self.width, 2))


@dataclass(frozen=True, kw_only=True, slots=True)
class Asking:
    """A model that asks for a number, which vmap cannot take."""

    def build(self) -> nn.Module:
        return _Asks()


class _Asks(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.layer(x)
        return out if out.sum().item() > 0 else -out


def splits(samples: int = 40) -> Splits:
    drawn = torch.Generator().manual_seed(0)
    sets = [(torch.randn(n, 3, generator=drawn), torch.randint(2, (n,), generator=drawn)) for n in (samples, 20, 20)]
    return Splits(train=sets[0], val=sets[1], test=sets[2])


TASK = Task(name="few", data=lambda seed: splits(), goal=Minimise("loss"), loss=CrossEntropy())  # noqa: ARG005
RECIPE = Recipe(model=MLP(widths=(4,)), batch_size=8, epochs=2)


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(folder=tmp_path / "packs")


def test_a_slow_pack_is_refused(cache: Cache) -> None:
    found = chosen(TASK, RECIPE, splits(), CPU, (4, 8), cache=cache, clock=Scripted([4.0, 8.0]))
    assert found.size == 1
    assert found.gains == pytest.approx({4: 1.0, 8: 1.0})


def test_the_largest_gain_is_taken(cache: Cache) -> None:
    found = chosen(TASK, RECIPE, splits(), CPU, (8, 4, 4, 1), cache=cache, clock=Scripted([2.0, 2.0]))
    assert found.size == 8
    assert found.gains == pytest.approx({4: 2.0, 8: 4.0})


def test_a_turn_alone_may_have_more_steps_than_one_of_a_pack(cache: Cache) -> None:
    """Five, an epoch, in 10 ms; the packs have two in 40 ms."""
    found = chosen(TASK, RECIPE, splits(), CPU, (64,), cache=cache, clock=Scripted([0.04], alone=0.01))
    assert found.gains == pytest.approx({64: 64 * (0.01 / 5) / (0.04 / 2)})


@pytest.mark.parametrize(
    ("packs", "tried"), [([4.5, 1.0], [4]), ([2.0, 4.0, 1.0], [4, 8]), ([4.0, 4.0, 4.0], [4, 8, 16])]
)
def test_no_larger_ones_are_tried_than_may_gain(cache: Cache, packs: Sequence[float], tried: list[int]) -> None:
    clock = Scripted(packs)
    found = chosen(TASK, RECIPE, splits(), CPU, (4, 8, 16), cache=cache, clock=clock)
    assert [*found.gains] == tried
    assert clock.reads == 2 + 4 * TURNS * len(tried)


@pytest.mark.parametrize(
    ("gains", "size"),
    [
        ({}, 1),
        ({4: 1.05}, 1),
        ({4: 1.2}, 4),
        ({4: 1.08, 16: 1.12}, 16),
        ({4: 2.0, 16: 2.05}, 4),
        ({4: 2.0, 16: 3.0, 64: 2.9}, 16),
    ],
)
def test_a_smaller_pack_that_gains_as_much_is_better(gains: Mapping[int, float], size: int) -> None:
    assert best(gains) == size


def test_it_measures_by_itself(cache: Cache) -> None:
    found = chosen(TASK, replace(RECIPE, optimizer=SGD(lr=0.1)), splits(), CPU, (2,), cache=cache)
    assert [*found.gains] == [2]
    assert found.gains[2] > 0
    assert found.reason is None


def test_what_was_chosen_is_kept(cache: Cache) -> None:
    first = chosen(TASK, RECIPE, splits(), CPU, (4,), cache=cache, clock=Scripted([2.0]))
    # Other settings of each member's own, the same structure.
    again = replace(RECIPE, optimizer=AdamW(lr=0.5), seed=Seeds(init=7), epochs=9)
    assert chosen(TASK, again, splits(), CPU, (4,), cache=cache, clock=never) == first
    assert len([*cache.folder.iterdir()]) == 1


@pytest.mark.parametrize(
    "asked",
    [
        lambda cache, clock: chosen(TASK, replace(RECIPE, batch_size=4), splits(), CPU, (4,), cache=cache, clock=clock),
        lambda cache, clock: chosen(
            TASK, replace(RECIPE, model=MLP(widths=(5,))), splits(), CPU, (4,), cache=cache, clock=clock
        ),
        lambda cache, clock: chosen(
            TASK, replace(RECIPE, optimizer=SGD()), splits(), CPU, (4,), cache=cache, clock=clock
        ),
        lambda cache, clock: chosen(TASK, RECIPE, splits(48), CPU, (4,), cache=cache, clock=clock),
        lambda cache, clock: chosen(TASK, RECIPE, splits(), CPU, (5,), cache=cache, clock=clock),
    ],
    ids=["batch", "model", "optimizer", "samples", "sizes"],
)
def test_what_is_different_is_measured_anew(
    cache: Cache, asked: Callable[[Cache, Callable[[], float]], Choice]
) -> None:
    chosen(TASK, RECIPE, splits(), CPU, (4,), cache=cache, clock=Scripted([2.0]))
    assert max(asked(cache, Scripted([1.0])).gains.values()) >= 4.0
    assert len([*cache.folder.iterdir()]) == 2


def test_another_number_of_threads_is_measured_anew(cache: Cache) -> None:
    threads = torch.get_num_threads()
    chosen(TASK, RECIPE, splits(), CPU, (4,), cache=cache, clock=Scripted([2.0]))
    try:
        torch.set_num_threads(threads + 1)
        found = chosen(TASK, RECIPE, splits(), CPU, (4,), cache=cache, clock=Scripted([1.0]))
    finally:
        torch.set_num_threads(threads)
    assert found.gains == {4: pytest.approx(4.0)}


def _other_key(text: str) -> str:
    return json.dumps({**json.loads(text), "key": "another"})


def _nan(text: str) -> str:
    return json.dumps({**json.loads(text), "gains": {"4": float("nan")}})


@pytest.mark.parametrize(
    "damage",
    [lambda text: text[:20], lambda _: "[1]", lambda _: '{"gains": 1}', lambda _: "\x00", _other_key, _nan],
    ids=["torn", "a list", "no gains", "no text", "another key", "not a number"],
)
def test_foreign_files_are_as_none(cache: Cache, damage: Callable[[str], str]) -> None:
    chosen(TASK, RECIPE, splits(), CPU, (4,), cache=cache, clock=Scripted([2.0]))
    (path,) = cache.folder.iterdir()
    whole = path.read_text()
    path.write_text(damage(whole))
    found = chosen(TASK, RECIPE, splits(), CPU, (4,), cache=cache, clock=Scripted([1.0]))
    assert found.gains == {4: pytest.approx(4.0)}
    assert chosen(TASK, RECIPE, splits(), CPU, (4,), cache=cache, clock=never) == found
    assert [*cache.folder.iterdir()] == [path]


def test_where_nothing_can_be_kept_it_is_measured_each_time(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    for seconds in (2.0, 1.0):
        clock = Scripted([seconds])
        found = chosen(TASK, RECIPE, splits(), CPU, (4,), cache=Cache(folder=blocked), clock=clock)
        assert found.gains == {4: pytest.approx(4 / seconds)}
    assert blocked.read_text() == "in the way"


def test_the_users_cache_folder_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    chosen(TASK, RECIPE, splits(), CPU, (4,), clock=Scripted([2.0]))
    assert len([*(tmp_path / "regatta" / "packs").glob("*.json")]) == 1


def test_nothing_is_touched(cache: Cache) -> None:
    data, recipe = splits(), replace(RECIPE, model=Drawing())
    tensors = [tensor for samples in data.named().values() for tensor in samples]
    before = [(tensor.clone(), tensor._version) for tensor in tensors]
    drawn = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()  # type: ignore[index]
    chosen(TASK, recipe, data, CPU, (4,), cache=cache, clock=Scripted([2.0]))
    assert drawn == (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())  # type: ignore[index]
    for tensor, (was, version) in zip(tensors, before, strict=True):
        assert torch.equal(tensor, was)
        assert tensor._version == version
    assert recipe == replace(RECIPE, model=Drawing())


@pytest.mark.parametrize(
    ("recipe", "said"),
    [(replace(RECIPE, micro_batch=Auto()), "micro_batch"), (replace(RECIPE, model=Asking()), "vmap cannot take it")],
)
def test_what_cannot_be_fused_is_trained_alone(cache: Cache, recipe: Recipe, said: str) -> None:
    found = chosen(TASK, recipe, splits(), CPU, (4,), cache=cache, clock=never)
    assert found.size == 1
    assert found.reason is not None
    assert said in found.reason
    assert not found.gains
    assert not cache.folder.exists()
