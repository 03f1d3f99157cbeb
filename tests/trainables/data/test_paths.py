"""Every path to the data gives the loop the same batches: the history of a run is the plain one's, bit for bit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.trainables.small import recipe, task
from trainables import (
    EMA,
    FP32,
    SWA,
    Auto,
    Balanced,
    Chunked,
    ConflictError,
    Curriculum,
    Embedded,
    InMemory,
    KFold,
    Noise,
    Prefetch,
    Recipe,
    Splits,
)
from trainables.batches import split
from trainables.compiled import warm
from trainables.data import Chosen, Indexed, Joined, write
from trainables.data.source import by_sample, count, head
from trainables.fit import fit
from trainables.models import MLP
from trainables.run import Run
from trainables.splitting import divided
from trainables.world import World

Tensors = tuple[Tensor, ...]


def in_memory(tensors: Tensors, _: Path) -> Indexed:
    return InMemory(tensors)


def chosen(tensors: Tensors, _: Path) -> Indexed:
    """Out of a set in another order, with samples in it that are not asked for."""
    samples = len(tensors[-1])
    mixed = torch.randperm(samples + 7, generator=torch.Generator().manual_seed(1))
    wider = InMemory(tuple(torch.cat([tensor, tensor[:7] + 1])[mixed] for tensor in tensors))
    return Chosen(source=wider, rows=mixed.argsort()[:samples])


def joined(tensors: Tensors, _: Path) -> Indexed:
    return Joined(
        first=InMemory(tuple(tensor[:5] for tensor in tensors)), then=InMemory(tuple(tensor[5:] for tensor in tensors))
    )


def mapped(tensors: Tensors, folder: Path) -> Indexed:
    return write(folder, split(tensors, 7))


PATHS: dict[str, Callable[[Tensors, Path], Any]] = {
    "memory": in_memory,
    "chosen": chosen,
    "joined": joined,
    "mapped": mapped,
}


def hardness(tensors: Tensors) -> Tensor:
    return tensors[0].norm(dim=1)


ranked = replace(task, difficulty=hardness)

RECIPES = {
    "plain": recipe(epochs=2),
    "parts": recipe(epochs=2, micro_batch=5, average=EMA(decay=0.9), augment=Noise(std=0.1)),
    "found": recipe(epochs=2, micro_batch=Auto(), average=SWA(epochs=2), precision=FP32()),
    "curriculum": recipe(epochs=2, curriculum=Curriculum()),
    "folds": recipe(epochs=2, split=KFold(folds=4)),
    "balanced": recipe(epochs=2, sampling=Balanced()),
    "chunked": recipe(epochs=2, sampling=Chunked(chunk=12, pieces=4)),
}


def laid(make: Callable[[Tensors, Path], Any], folder: Path, seed: int = 3) -> Splits[Any]:
    splits = task.data(seed)
    sets = {name: make(tensors, folder / name) for name, tensors in splits.named().items()}
    return Splits(train=sets["train"], val=sets["val"], test=sets["test"])


def told(settings: Recipe, splits: Splits[Any] | None = None, world: World | None = None) -> list[dict[str, float]]:
    return [dict(epoch.metrics) for epoch in fit(ranked, settings, splits=splits, world=world)]


@pytest.mark.parametrize("ahead", [None, Prefetch(), Prefetch(depth=3, workers=3)], ids=["now", "ahead", "threads"])
@pytest.mark.parametrize("path", PATHS)
def test_the_model_sees_the_same(path: str, ahead: Prefetch | None, tmp_path: Path) -> None:
    splits = laid(PATHS[path], tmp_path)
    for name, settings in RECIPES.items():
        assert told(replace(settings, prefetch=ahead), splits) == told(settings), name


def test_tensors_looked_up_ahead_give_the_same() -> None:
    for name, settings in RECIPES.items():
        assert told(replace(settings, prefetch=Prefetch())) == told(settings), name


def test_a_source_is_warmed_up_for(tmp_path: Path) -> None:
    """What is compiled is traced with samples of the source."""
    run = Run.start(task, recipe(), splits=laid(in_memory, tmp_path), device=torch.device("cpu"))
    before = [parameter.clone() for parameter in run.parameters]
    warm(run)
    assert all(map(torch.equal, before, run.parameters))


@pytest.mark.parametrize("path", PATHS)
def test_what_a_source_says_of_itself(path: str, tmp_path: Path) -> None:
    tensors = (torch.arange(40.0).reshape(20, 2), torch.arange(20) % 3)
    source = PATHS[path](tensors, tmp_path / "s")
    assert count(source) == source.samples == 20
    assert all(map(torch.equal, head(source, 3), (tensor[:3] for tensor in tensors)))
    assert len(head(source, 30)[0]) == 20
    assert torch.equal(source.targets(), tensors[1])
    assert torch.equal(by_sample(source, lambda batch: batch[0].sum(1), size=7), tensors[0].sum(1))
    batches = list(source.in_order(2, 19, 5))
    assert [len(batch[0]) for batch in batches] == [5, 5, 5, 2]
    assert torch.equal(torch.cat([batch[0] for batch in batches]), tensors[0][2:19])
    assert not list(source.in_order(4, 4, 5))
    rows = torch.tensor([19, 0, 0, 7])
    assert all(map(torch.equal, source.take(rows), (tensor[rows] for tensor in tensors)))


@dataclass(frozen=True, slots=True, eq=False)
class Terse:
    """A source that tells its largest class alone, or all targets and then no sample in order."""

    source: InMemory
    all_of_them: bool

    @property
    def samples(self) -> int:
        return self.source.samples

    def targets(self) -> Tensor:
        return self.source.targets() if self.all_of_them else self.source.targets().max()[None]

    def take(self, rows: Tensor) -> Tensors:
        return self.source.take(rows)

    def in_order(self, begin: int, end: int, size: int) -> Iterator[Tensors]:
        assert not self.all_of_them, "the set was read for what its targets tell"
        return self.source.in_order(begin, end, size)


@pytest.mark.parametrize("all_of_them", [False, True])
def test_what_goes_by_the_target_of_each_sample_does_not_take_some_for_all(all_of_them: bool, tmp_path: Path) -> None:
    plain = InMemory(task.data(3).train)
    terse = Terse(plain, all_of_them)
    for mine, theirs in zip(Balanced().blocks(terse, 1), Balanced().blocks(plain, 1), strict=True):
        assert torch.equal(mine, theirs)
    for mine, theirs in zip(
        divided(terse, seed=1).named().values(), divided(plain, seed=1).named().values(), strict=True
    ):
        assert torch.equal(mine.rows, theirs.rows)  # type: ignore[attr-defined]
    if all_of_them:
        return
    whole = Splits(train=plain, val=plain, test=plain)
    found, told = (
        Embedded(data=lambda _, part=part: replace(whole, train=part), front=MLP(inputs=2, outputs=2), cache=tmp_path)(
            1
        )
        for part in (terse, plain)
    )
    assert all(map(torch.equal, found.train, told.train))


def test_an_empty_source_is_refused() -> None:
    tensors = task.data(0).train
    empty = InMemory(tuple(tensor[:0] for tensor in tensors))
    with pytest.raises(ConflictError, match="val is empty"):
        replace(task, data=lambda _: Splits(train=InMemory(tensors), val=empty, test=InMemory(tensors))).load(0)
