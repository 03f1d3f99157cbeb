"""Streams from shards: exact epochs for any number of workers, and the run that the same samples give in memory."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet
from torch import Tensor

from tests.trainables.data.test_paths import joined, laid
from tests.trainables.small import recipe, task
from tests.trainables.test_world import TOLERANCE, together
from trainables import (
    EMA,
    FP32,
    SWA,
    Balanced,
    ConflictError,
    CrossEntropy,
    Curriculum,
    Holdout,
    Noise,
    Prefetch,
    Recipe,
    Splits,
)
from trainables.data import ParquetShards, Stream
from trainables.data.randomness import Randomness
from trainables.fit import fit
from trainables.world import World


@dataclass(frozen=True, slots=True, eq=False)
class Pieces:
    """Shards of tensors in memory; what is read is noted."""

    tensors: tuple[Tensor, ...]
    counts: Sequence[int]
    noted: list[int]

    @classmethod
    def of(cls, tensors: tuple[Tensor, ...], counts: Sequence[int]) -> Pieces:
        return cls(tensors, counts, [])

    def targets(self) -> Tensor:
        return self.tensors[-1]

    def read(self, numbers: Sequence[int]) -> Iterator[tuple[Tensor, ...]]:
        for number in numbers:
            self.noted.append(number)
            begin = sum(self.counts[:number])
            yield tuple(tensor[begin : begin + self.counts[number]] for tensor in self.tensors)


def numbered(counts: Sequence[int]) -> Pieces:
    """Samples that are their own numbers."""
    return Pieces.of((torch.arange(sum(counts)), torch.arange(sum(counts))), counts)


@given(st.lists(st.integers(0, 30), min_size=1, max_size=12), st.integers(1, 40), st.integers(1, 4), st.integers(1, 13))
@settings(max_examples=150, deadline=None)
def test_epochs_are_exact_and_batches_have_their_sizes(counts: list[int], size: int, workers: int, mix: int) -> None:
    samples = sum(counts)
    if not samples:
        return
    shares = [
        [batch[0] for batch in Stream(shards=numbered(counts), mix=mix).stream(size, rank, workers, 1, 2)]
        for rank in range(workers)
    ]
    batches = [torch.cat(parts) for parts in zip(*shares, strict=True)]
    assert [len(batch) for batch in batches] == [min(size, samples - begin) for begin in range(0, samples, size)]
    assert torch.equal(torch.cat(batches).sort().values, torch.arange(samples))
    for parts in zip(*shares, strict=True):
        lengths = [len(part) for part in parts]
        assert max(lengths) - min(lengths) <= 1


def test_a_worker_reads_its_own_shards() -> None:
    read = []
    for rank in range(2):
        shards = numbered([10] * 20)
        list(Stream(shards=shards, mix=2).stream(8, rank, 2, 1, 1))
        assert len(set(shards.noted)) == len(shards.noted)
        read.append(set(shards.noted))
    assert len(read[0]) <= 12
    assert len(read[1]) <= 12
    assert read[0] | read[1] == set(range(20))


def test_the_order_is_new_in_every_epoch_and_the_seed_s() -> None:
    def order(*seed: int) -> Tensor:
        return torch.cat([batch[0] for batch in Stream(shards=numbered([7] * 9), mix=3).stream(5, 0, 1, *seed)])

    assert torch.equal(order(1, 1), order(1, 1))
    assert not torch.equal(order(1, 1), order(1, 2))
    assert not torch.equal(order(1, 1), order(2, 1))


def test_mixing_more_shards_is_more_random() -> None:
    samples = 100 * 200
    found = []
    for mix in (1, 10, 200):
        stream = Stream(shards=numbered([100] * 200), mix=mix).stream(50, 0, 1, 1)
        found.append(Randomness.of((batch[0] for batch in stream), samples, 50))
    assert all(each.each_once for each in found)
    assert found[0].spread > 3 * found[1].spread > 3 * found[2].spread
    assert found[2].spread == pytest.approx(1, abs=0.2)


def shards_of(tensors: tuple[Tensor, ...], counts: Sequence[int] = (20, 1, 0, 17, 23)) -> Pieces:
    assert sum(counts) == len(tensors[-1])
    return Pieces.of(tensors, counts)


def told(settings: Recipe, splits: Splits[Any], world: World | None = None) -> list[dict[str, float]]:
    return [dict(epoch.metrics) for epoch in fit(task, settings, splits=splits, world=world)]


def streamed(mix: int) -> Splits[Any]:
    plain = task.data(3)
    val = Stream(shards=shards_of(plain.val, (3, 10, 7)))
    return Splits(train=Stream(shards=shards_of(plain.train), mix=mix), val=val, test=plain.test)


@pytest.mark.parametrize("ahead", [None, Prefetch()], ids=["now", "ahead"])
def test_with_all_shards_mixed_it_is_the_run_in_memory(ahead: Prefetch | None) -> None:
    for changes in ({}, {"micro_batch": 5, "average": EMA(decay=0.9), "augment": Noise()}, {"average": SWA(epochs=2)}):
        found = told(recipe(prefetch=ahead, **changes), streamed(mix=9))
        assert found == told(recipe(**changes), task.data(3)), changes


@dataclass(frozen=True, slots=True)
class Dealt:
    """The order in which a stream gives its samples to several workers, batch by batch, as a sampling of the set in memory."""

    stream: Callable[[], Stream]
    size: int
    workers: int

    def blocks(self, train: Any, *seed: int) -> Iterator[Tensor]:  # noqa: ARG002
        shares = [self.stream().stream(self.size, rank, self.workers, *seed) for rank in range(self.workers)]
        for batches in zip(*shares, strict=True):
            yield torch.cat([batch[0] for batch in batches])

    def conflicts(self) -> Iterator[str]:
        return iter(())


def numbers() -> Stream:
    return Stream(shards=numbered((20, 1, 0, 17, 23)), mix=2)


# Batches of 20 leave one sample, which is an empty share for the second worker.
EQUAL = {
    "plain": recipe(),
    "empty share": recipe(batch_size=20, prefetch=Prefetch()),
    "parts": recipe(batch_size=20, micro_batch=3, average=EMA(decay=0.9)),
    "weighted": recipe(loss=CrossEntropy(class_weights=(1.0, 2.0, 0.5))),
    "ones": recipe(batch_size=1, epochs=1),
}


def limited(folder: Path, world: World) -> tuple[list[int], float]:
    """Samples of each epoch by their numbers, and the last loss, where the process may not hold the set."""
    import resource

    shards = ParquetShards(path=str(folder), inputs=("number", *WIDE), target="kind")
    seen: list[Tensor] = []

    def noting(run: Any, batches: Iterator[tuple[Tensor, ...]]) -> Iterator[tuple[Tensor, ...]]:  # noqa: ARG001
        for batch in batches:
            seen.append(batch[0][:, 0].long().clone())
            yield batch

    small = tuple(tensor[:40] for tensor in next(shards.read([0])))
    splits: Splits[Any] = Splits(train=Stream(shards=shards, mix=2), val=small, test=small)
    settings = recipe(batch_size=500, epochs=1, precision=FP32())
    list(fit(task, settings, splits=replace(splits, train=small), world=world))  # what is loaded on the way
    status = Path("/proc/self/status").read_text().splitlines()
    held = next(int(line.split()[1]) for line in status if line.startswith("VmData"))
    resource.setrlimit(resource.RLIMIT_DATA, (1024 * held + SET_BYTES // 2, -1))
    with pytest.raises(RuntimeError, match="can't allocate memory"):
        torch.empty(SET_BYTES // 4)
    *_, last = fit(task, replace(settings, epochs=2), splits=splits, world=world, through=noting)
    return torch.cat(seen).tolist(), last.metrics["train/loss"]


WIDE = tuple(f"x{number}" for number in range(99))
SHARDS, ROWS = 40, 5_000
SET_BYTES = 4 * SHARDS * ROWS * (1 + len(WIDE))


def two_workers(world: World) -> tuple[dict[str, list[dict[str, float]]], list[int], float]:
    equal = {name: told(settings, streamed(mix=2), world) for name, settings in EQUAL.items()}
    equal["by number"] = told(recipe(prefetch=Prefetch()), laid(joined, Path()), world)
    folder = Path(world.told(tempfile.mkdtemp()))
    if world.first:
        drawn = torch.randn(ROWS, len(WIDE), generator=torch.Generator().manual_seed(0)).numpy()
        for shard in range(SHARDS):
            columns = {"number": range(shard * ROWS, (shard + 1) * ROWS), "kind": [row % 3 for row in range(ROWS)]}
            columns |= {name: drawn[:, place] for place, name in enumerate(WIDE)}
            parquet.write_table(pa.table(columns), folder / f"{shard:02d}.parquet")
    world.told(None)
    return equal, *limited(folder, world)


@pytest.mark.slow
def test_two_workers_learn_what_one_does_and_a_set_larger_than_memory_is_seen_once() -> None:
    (equal, seen, loss), (same, others, their_loss) = together(2, two_workers)
    assert equal == same
    alone = {"by number": told(recipe(), task.data(3))}
    for name, asked in EQUAL.items():
        in_memory = replace(asked, prefetch=None, sampling=Dealt(numbers, asked.batch_size, 2))  # type: ignore[arg-type]
        alone[name] = told(in_memory, task.data(3))
    assert equal.keys() == alone.keys()
    for name, rows in equal.items():
        for mine, theirs in zip(rows, alone[name], strict=True):
            assert mine == pytest.approx(theirs, rel=0, abs=TOLERANCE), name
    assert loss == their_loss
    half = SHARDS * ROWS // 2
    for epoch in (slice(0, half), slice(half, None)):
        assert sorted([*seen[epoch], *others[epoch]]) == list(range(SHARDS * ROWS))


def test_what_a_stream_cannot_do_is_told() -> None:
    for changes in ({"split": Holdout()}, {"sampling": Balanced()}):
        (name,) = changes
        with pytest.raises(ConflictError, match=f"{name}: the training set is a stream"):
            told(recipe(**changes), streamed(mix=2))
    ranked = replace(task, difficulty=lambda tensors: tensors[0].norm(dim=1))
    with pytest.raises(ConflictError, match="curriculum: the training set is a stream"):
        list(fit(ranked, recipe(curriculum=Curriculum()), splits=streamed(mix=2)))


def lay(folder: Path) -> None:
    columns = {
        "a": [0.5, 1.5, 2.5],
        "b": [1, 2, 3],
        "kind": [0, 4, 1],
        "word": ["no", "yes", "no"],
        "price": [0.1, 0.2, 0.3],
    }
    parquet.write_table(pa.table(columns), folder / "0.parquet")
    parquet.write_table(pa.table(columns).slice(0, 2), folder / "1.parquet", write_statistics=False)


def test_parquet_files_are_shards(tmp_path: Path) -> None:
    lay(tmp_path)
    shards = ParquetShards(path=str(tmp_path), inputs=("b", "a"), target="kind")
    assert list(shards.counts) == [3, 2]
    assert shards.targets().tolist() == [4, 4]
    second, first = shards.read([1, 0])
    assert second[0].tolist() == [[1.0, 0.5], [2.0, 1.5]]
    assert first[1].tolist() == [0, 4, 1]
    words = ParquetShards(path=str(tmp_path), inputs=("a",), target="word", classes=("no", "yes"))
    assert words.targets().tolist() == [0, 1]
    assert next(words.read([0]))[1].tolist() == [0, 1, 0]
    prices = ParquetShards(path=str(tmp_path), inputs=("a",), target="price")
    assert next(prices.read([1]))[1].shape == (2, 1)
    assert prices.targets().shape == (2, 1)
    assert [len(batch[1]) for batch in Stream(shards=shards).in_order(1, 5, 3)] == [3, 1]


def test_an_empty_shard_is_of_the_same_type_as_the_others(tmp_path: Path) -> None:
    lay(tmp_path)
    whole = parquet.read_table(tmp_path / "0.parquet")
    parquet.write_table(whole.slice(0, 0), tmp_path / "2.parquet")
    words = ParquetShards(path=str(tmp_path), inputs=("a",), target="word", classes=("no", "yes"))
    (batch,) = Stream(shards=words).stream(10, 0, 1, 1)
    assert batch[1].dtype == torch.int64
    assert sorted(batch[1].tolist()) == [0, 0, 0, 1, 1]


def test_shards_that_have_changed_since_they_were_counted_are_told(tmp_path: Path) -> None:
    lay(tmp_path)
    stream = Stream(shards=ParquetShards(path=str(tmp_path), inputs=("a",), target="kind"))
    parquet.write_table(parquet.read_table(tmp_path / "0.parquet").slice(0, 1), tmp_path / "0.parquet")
    with pytest.raises(ConflictError, match="shard 0 has 1, 1 samples where 3 were counted; leave shards as they are"):
        list(stream.stream(2, 0, 1, 1))
    (tmp_path / "1.parquet").unlink()
    with pytest.raises(ConflictError, match=r"1\.parquet is gone; put it back"):
        list(stream.in_order(3, 5, 2))
    (tmp_path / "1.parquet").write_bytes(b"PAR1 no more")
    with pytest.raises(ConflictError, match=r"1\.parquet cannot be read: .*; write it anew, or take it out"):
        list(stream.in_order(3, 5, 2))


def test_bad_shards_are_named(tmp_path: Path) -> None:
    lay(tmp_path)
    with pytest.raises(ConflictError, match="Stream mix 0 must be a whole number of shards from 1"):
        Stream(shards=numbered([3]), mix=0)
    mixed = tmp_path / "mixed"
    mixed.mkdir()
    for number, kinds in enumerate(([0, 1], [0.0, 1.5])):
        parquet.write_table(pa.table({"a": [1.0, 2.0], "kind": kinds}), mixed / f"{number}.parquet")
    with pytest.raises(ConflictError, match=r"1\.parquet has double in column 'kind', the files before it int64"):
        ParquetShards(path=str(mixed), inputs=("a",), target="kind")
    with pytest.raises(ConflictError, match=r"0\.parquet has no column 'c'; it has a, b, kind, word, price"):
        ParquetShards(path=str(tmp_path), inputs=("c",), target="kind")
    words = ParquetShards(path=str(tmp_path), inputs=("a",), target="word", classes=("no", "perhaps"))
    with pytest.raises(
        ConflictError, match=r"1\.parquet, row 2, column 'word' holds 'yes', none of the classes no, perhaps"
    ):
        list(words.read([1]))
    with pytest.raises(ConflictError, match=r"0\.parquet, row 1, column 'word' holds 'no', which is no number"):
        next(ParquetShards(path=str(tmp_path), inputs=("word",), target="kind").read([0]))
    (tmp_path / "2.parquet").write_text("no table")
    with pytest.raises(ConflictError, match=r"2\.parquet is no Parquet file"):
        ParquetShards(path=str(tmp_path), inputs=("a",), target="kind")
