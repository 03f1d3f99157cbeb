"""Batches ahead of the training: in order, bounded, and gone when nobody asks any more."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from tests.trainables.small import recipe, task
from trainables import InMemory, Prefetch, Splits
from trainables.data.prefetch import looked_up, prefetched
from trainables.data.transfer import arriving, pinned
from trainables.fit import fit


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("prefetch")]


def settled(numbers: list[int]) -> int:
    """The last number once no more come."""
    before = -1
    while before != len(numbers):
        before = len(numbers)
        time.sleep(0.05)
    return before


@pytest.mark.parametrize("depth", [1, 3])
def test_so_many_are_made_and_no_more(depth: int) -> None:
    made: list[int] = []

    def source() -> Iterator[int]:
        for number in range(20):
            made.append(number)
            yield number

    items = prefetched(source(), depth)
    for taken in range(5):
        assert next(items) == taken
        assert settled(made) == taken + 1 + depth
    assert list(items) == list(range(5, 20))
    assert not threads()


@pytest.mark.parametrize("workers", [1, 3])
def test_so_many_are_looked_up_and_no_more(workers: int) -> None:
    made: list[int] = []

    def take(rows: Tensor) -> int:
        made.append(int(rows))
        time.sleep(0.01 if int(rows) % 2 else 0.0)  # the later one may be through first
        return int(rows)

    items = looked_up(torch.arange(20), take, 2, workers)
    for taken in range(5):
        assert next(items) == taken
        assert settled(made) == taken + 3
    assert list(items) == list(range(5, 20))
    assert not threads()


def test_they_are_made_while_the_consumer_works() -> None:
    """The second item is there before the first one is done with."""
    ready = threading.Event()

    def source() -> Iterator[int]:
        yield 0
        ready.set()
        yield 1

    for number in prefetched(source(), 1):
        assert ready.wait(5), "nothing was made ahead"
        assert number in (0, 1)


def test_what_fails_there_fails_here_after_what_was_made() -> None:
    def source() -> Iterator[int]:
        yield 0
        raise OSError("the disk is gone")

    items = prefetched(source(), 4)
    assert next(items) == 0
    with pytest.raises(OSError, match="the disk is gone"):
        next(items)

    def take(rows: Tensor) -> int:
        if int(rows) == 1:
            raise OSError("the disk is gone")
        return int(rows)

    found = looked_up(torch.arange(9), take, 2, 2)
    assert next(found) == 0
    with pytest.raises(OSError, match="the disk is gone"):
        next(found)
    assert not threads()


def test_a_loop_that_is_left_leaves_no_thread() -> None:
    endless = prefetched(iter(int, 1), 2)
    next(endless)
    assert threads()
    endless.close()
    looking = looked_up((torch.tensor(n) for n in iter(int, 1)), int, 2, 2)
    next(looking)
    looking.close()
    assert not threads()


def test_a_run_that_is_left_or_fails_leaves_no_thread() -> None:
    splits = task.data(3)
    there = Splits(train=InMemory(splits.train), val=splits.val, test=splits.test)
    settings = recipe(prefetch=Prefetch(workers=2))
    epochs = fit(task, settings, splits=there)
    next(epochs)
    epochs.close()
    assert not threads()

    def loss(output: Tensor, target: Tensor) -> Tensor:  # noqa: ARG001
        raise ValueError("no loss")

    said = ""
    try:
        list(fit(task, recipe(prefetch=Prefetch(), loss=loss), splits=there))
    except ValueError as error:
        said = str(error)
    assert said == "no loss"
    assert not threads()


def test_threads_are_as_many_as_cores_can_be_spared() -> None:
    assert Prefetch(workers=7).threads() == 7
    before = torch.get_num_threads()
    try:
        for cores, expected in ((1, 1), (2, 1), (3, 2), (64, 4)):
            torch.set_num_threads(cores)
            assert Prefetch().threads() == expected
    finally:
        torch.set_num_threads(before)


def test_settings_that_cannot_be_are_told() -> None:
    assert list(Prefetch(depth=0, workers=0).conflicts()) == [
        "Prefetch depth 0 must be a whole number of batches from 1; prefetch=None switches it off",
        "Prefetch workers 0 must be a whole number from 1; None takes what cores there are",
    ]


def test_batches_arrive_in_the_type_of_the_run() -> None:
    batch = (torch.ones(2, 3, dtype=torch.float16), torch.arange(2))
    (found,) = arriving([batch], torch.device("cpu"), torch.float64)
    assert [tensor.dtype for tensor in found] == [torch.float64, torch.int64]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_sees_the_same() -> None:
    """Batches from pinned memory, copied beside the step before, are those that lie on the GPU as a whole."""
    device = torch.device("cuda")
    batches = [(torch.randn(512, 1000), torch.full((512,), number)) for number in range(30)]
    work = torch.randn(3000, 3000, device=device)
    found = []
    for inputs, target in arriving(prefetched(map(pinned, batches), 3), device, torch.float32):
        work = work @ work * 1e-4  # keeps the stream busy while the next batch is on its way
        found.append((inputs.clone(), target.clone()))
    for mine, theirs in zip(found, batches, strict=True):
        assert all(torch.equal(a.cpu(), b) for a, b in zip(mine, theirs, strict=True))
    splits = task.data(3)
    sources = Splits(train=InMemory(splits.train), val=InMemory(splits.val), test=InMemory(splits.test))
    for ahead in (None, Prefetch(workers=2)):
        settings = recipe(prefetch=ahead, deterministic=True)
        mine, theirs = (
            [epoch.metrics for epoch in fit(task, settings, splits=each, device="cuda")] for each in (sources, splits)
        )
        assert mine == theirs
