"""A shuffle in the memory of a chunk, and how random it is."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trainables import Chunked, InMemory
from trainables.data.randomness import Randomness
from trainables.seeds import generator


@given(st.integers(1, 3000), st.integers(1, 400), st.data())
@settings(max_examples=80, deadline=None)
def test_every_sample_comes_once(samples: int, chunk: int, data: st.DataObject) -> None:
    part = Chunked(chunk=chunk, pieces=data.draw(st.integers(1, chunk)))
    assert not list(part.conflicts())
    blocks = list(part.order(samples, 1, 2))
    assert torch.equal(torch.cat(blocks).sort().values, torch.arange(samples))
    assert max(map(len, blocks)) <= max(chunk, 1)


def test_a_set_of_one_chunk_is_shuffled_as_ever() -> None:
    tensors = (torch.zeros(1000, 2), torch.zeros(1000))
    for train in (tensors, InMemory(tensors)):
        (order,) = Chunked(chunk=1000, pieces=10).blocks(train, 3, 4)
        assert torch.equal(order, torch.randperm(1000, generator=generator(3, 4)))


def test_the_seed_governs_it() -> None:
    first, again, other = (torch.cat([*Chunked(chunk=100, pieces=10).order(999, *s)]) for s in ((1, 2), (1, 2), (1, 3)))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_batches_differ_by_what_the_pieces_say() -> None:
    """The spread is that of cluster sampling; a full shuffle has 1, samples as they lie a spread of the batch size."""
    samples, batch = 200_000, 64
    lie = Randomness.of(torch.arange(samples), samples, batch)
    assert lie.spread == pytest.approx(batch, rel=0.01)
    assert lie.distance < 1e-3
    assert lie.drift == pytest.approx(1)
    full = Randomness.of(torch.randperm(samples, generator=generator(1)), samples, batch)
    assert full.spread == pytest.approx(1, abs=0.1)
    assert full.distance == pytest.approx(1, abs=0.01)
    assert full.drift < 0.01
    for pieces in (8, 64, 1024):
        found = Randomness.of(Chunked(chunk=8192, pieces=pieces).order(samples, 1), samples, batch)
        assert found.spread == pytest.approx(1 + batch / pieces, rel=0.35)
        assert found.drift < 0.2
        assert found.each_once
    assert full.each_once
    assert lie.each_once


def test_what_is_missing_or_comes_twice_is_seen() -> None:
    order = torch.arange(100)
    for wrong in (
        order[:-1],
        order.clone().fill_(3),
        torch.where(order == 50, 51, order),
        torch.cat([order, order[:1]]),
    ):
        assert not Randomness.of(wrong, 100, 8).each_once
    swapped = order.clone()
    swapped[[10, 11, 20, 23]] = torch.tensor([11, 12, 19, 22])  # the sum is right, the squares are not
    assert int(swapped.sum()) == int(order.sum())
    assert not Randomness.of(swapped, 100, 8).each_once


PEAK = """
import resource
import torch
from trainables.data.chunked import Chunked
part, samples = Chunked(), 10_000_000
for block in part.order(100_000, 0):
    pass
limit = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmData"))
resource.setrlimit(resource.RLIMIT_DATA, [1024 * limit + 40_000_000] * 2)
try:
    torch.randperm(samples)
except RuntimeError:
    print("all at once: too much")
count = total = 0
for block in part.order(samples, 1):
    count, total = count + len(block), total + int(block.sum())
print(count, total == samples * (samples - 1) // 2)
"""
"""Forty million bytes are half of what ten million indices take."""


def test_ten_million_indices_without_their_memory() -> None:
    done = subprocess.run([sys.executable, "-c", PEAK], capture_output=True, text=True, cwd=Path.cwd())
    assert done.stdout.split("\n")[:2] == ["all at once: too much", "10000000 True"], done.stderr


def test_settings_that_cannot_be_are_told() -> None:
    assert list(Chunked(chunk=0).conflicts()) == [
        "Chunked chunk 0 must be a whole number of samples from 1; 65536 is usual"
    ]
    assert list(Chunked(chunk=10, pieces=11).conflicts()) == [
        "Chunked pieces 11 must be a whole number from 1 to chunk 10; 1024 is usual"
    ]
