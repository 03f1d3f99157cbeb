"""Batches of a source that are made once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.trainables.data.test_stream import numbered
from tests.trainables.small import clusters, recipe, task
from trainables import ConflictError, InMemory, Sampled, Splits
from trainables.data import Held, Stream
from trainables.data.source import Indexed
from trainables.fit import fit


@dataclass(frozen=True, slots=True, eq=False)
class Counted:
    """Tensors by number; how many samples were read in order is noted."""

    tensors: tuple[Tensor, ...]
    read: list[int] = field(default_factory=list)

    @property
    def samples(self) -> int:
        return len(self.tensors[-1])

    def targets(self) -> Tensor:
        return self.tensors[-1]

    def take(self, rows: Tensor) -> tuple[Tensor, ...]:
        return tuple(tensor[rows] for tensor in self.tensors)

    def in_order(self, begin: int, end: int, size: int) -> Iterator[tuple[Tensor, ...]]:
        for start in range(begin, end, size):
            batch = tuple(tensor[start : min(start + size, end)].clone() for tensor in self.tensors)
            self.read.append(len(batch[-1]))
            yield batch


def counted(samples: int) -> Counted:
    """Samples of 16 bytes."""
    return Counted((torch.arange(samples), torch.arange(samples)))


def passed(held: Held, begin: int, end: int, size: int) -> list[int]:
    return [int(value) for batch in held.in_order(begin, end, size) for value in batch[0]]


def test_each_batch_is_made_once() -> None:
    source = counted(10)
    held = Held(source=source)
    for _ in range(3):
        assert passed(held, 0, 10, 4) == list(range(10))
    assert source.read == [4, 4, 2]
    first, again = (next(held.in_order(0, 10, 4))[0] for _ in range(2))
    assert first is again


def test_beyond_the_limit_they_are_made_anew() -> None:
    source = counted(10)
    held = Held(source=source, limit=2 * 4 * 16)
    for _ in range(3):
        assert passed(held, 0, 10, 4) == list(range(10))
    # The last, though small enough by itself, comes behind two that fill the room.
    assert source.read == [4, 4, 2, 2, 2]


def test_one_that_does_not_fit_leaves_no_gap() -> None:
    source = counted(10)
    held = Held(source=source, limit=3 * 16)
    for _ in range(2):
        assert passed(held, 0, 10, 4) == list(range(10))
    assert source.read == [4, 4, 2] * 2


def test_a_pass_that_was_broken_off_is_taken_up() -> None:
    source = counted(10)
    held = Held(source=source)
    next(held.in_order(0, 10, 4))
    one, other = held.in_order(0, 10, 4), held.in_order(0, 10, 4)
    together = [int(value) for pair in zip(one, other, strict=True) for value in pair[0][0]]
    assert together == list(range(10))
    assert passed(held, 0, 10, 4) == list(range(10))


def test_another_part_or_size_takes_the_place_of_the_one_before() -> None:
    source = counted(10)
    held = Held(source=source)
    passed(held, 0, 10, 5)
    assert passed(held, 3, 10, 4) == list(range(3, 10))
    assert passed(held, 3, 10, 4) == list(range(3, 10))
    assert source.read == [5, 5, 4, 3]
    passed(held, 0, 10, 5)
    assert source.read == [5, 5, 4, 3, 5, 5]


def test_it_is_a_source_by_number_too() -> None:
    held = Held(source=InMemory((torch.arange(6), torch.arange(6) % 2)))
    assert isinstance(held, Indexed)
    assert held.samples == 6
    assert held.targets().tolist() == [0, 1, 0, 1, 0, 1]
    assert held.take(torch.tensor([4, 1]))[0].tolist() == [4, 1]


def test_what_cannot_be_held_is_refused() -> None:
    with pytest.raises(ConflictError, match="Held source Stream is read from front to end"):
        Held(source=Stream(shards=numbered([3, 4])))  # type: ignore[arg-type]
    with pytest.raises(ConflictError, match="Held limit -1 must be a number of bytes"):
        Held(source=counted(3), limit=-1)


def test_a_run_reads_its_validation_set_once_and_learns_and_tells_the_same() -> None:
    sources = []

    def held(seed: int) -> Splits[Any]:
        splits = clusters(seed)
        sources.append(Counted(splits.val))
        return replace(splits, val=Held(source=sources[-1]))

    plain = [dict(epoch.metrics) for epoch in fit(task, recipe())]
    assert [dict(epoch.metrics) for epoch in fit(replace(task, data=held), recipe())] == plain
    assert sum(sources[-1].read) == 20
    sampled = [dict(epoch.metrics) for epoch in fit(task, recipe(validation=Sampled(every=2)))]
    assert [
        dict(epoch.metrics) for epoch in fit(replace(task, data=held), recipe(validation=Sampled(every=2)))
    ] == sampled
