"""Shards that Ray Data reads: the same tensors, and the same trial with two workers as in memory with one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import ray
import torch
from pyarrow import parquet
from torch import Tensor

from sweeps import Resources, Sweep
from sweeps.engine.drive import drive
from sweeps.engine.lanes import solo
from sweeps.engine.machine import Machine
from sweeps.engine.shards import RayShards
from tests.sweeps.small import small
from trainables import FP64, SGD, ConflictError, Recipe, Splits
from trainables.data import ParquetShards, Stream
from trainables.models import MLP

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # Ray's own, in whatever comes first

TOLERANCE = 1e-9
COUNTS = (20, 1, 0, 17, 23)
BATCH = 20


@pytest.fixture(scope="module", autouse=True)
def ray_is_up() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "disabled")
        solo.start(Resources(workers=2))
        yield
        solo.stop()


def lay(folder: Path) -> ParquetShards:
    """The points of a few uneven shards; a sample's number is among them."""
    folder.mkdir()
    drawn = torch.Generator().manual_seed(0)
    begin = 0
    for place, count in enumerate(COUNTS):
        points = torch.randn(count, 2, generator=drawn).numpy()
        classes = [(begin + row) % 3 for row in range(count)]
        columns = {"x": points[:, 0], "y": points[:, 1], "kind": pa.array(classes, pa.int64())}
        parquet.write_table(pa.table(columns), folder / f"{place}.parquet")
        begin += count
    return shards(folder)


def shards(folder: Path) -> ParquetShards:
    return ParquetShards(path=str(folder), inputs=("x", "y"), target="kind")


def whole(folder: Path) -> tuple[Tensor, ...]:
    return tuple(torch.cat(parts) for parts in zip(*shards(folder).read(range(len(COUNTS))), strict=True))


@dataclass(frozen=True, slots=True)
class Data:
    """The shards as a stream that Ray Data reads, or all of them in memory."""

    folder: Path
    streamed: bool

    def __call__(self, seed: int) -> Splits[Any]:  # noqa: ARG002
        tensors = whole(self.folder)
        some = tuple(tensor[:30] for tensor in tensors)
        stream = Stream(shards=RayShards(shards=shards(self.folder)), mix=2)
        return Splits(train=stream if self.streamed else tensors, val=some, test=some)


@dataclass(frozen=True, slots=True)
class Dealt:
    """The order in which the stream deals the samples to two workers, as a sampling of the set in memory."""

    folder: Path

    def blocks(self, train: Any, *seed: int) -> Iterator[Tensor]:  # noqa: ARG002
        order = torch.arange(sum(COUNTS))

        @dataclass(frozen=True, slots=True)
        class Numbers:
            counts = COUNTS

            def targets(self) -> Tensor:
                return order

            def read(self, numbers: Any) -> Iterator[tuple[Tensor, ...]]:
                parts = order.split(list(COUNTS))
                return ((parts[number], parts[number]) for number in numbers)

        stream = Stream(shards=Numbers(), mix=2)
        for parts in zip(*(stream.stream(BATCH, rank, 2, *seed) for rank in range(2)), strict=True):
            yield torch.cat([part[0] for part in parts])

    def conflicts(self) -> Iterator[str]:
        return iter(())


def asked(folder: Path, *, streamed: bool) -> Sweep:
    sweep = small(search=None, early_stop=None, seeds=1)
    recipe = Recipe(model=MLP(widths=(8,)), batch_size=BATCH, optimizer=SGD(lr=0.1), precision=FP64(), epochs=3)
    return replace(
        sweep,
        task=replace(sweep.task, data=Data(folder, streamed), samples=None),
        recipe=recipe if streamed else replace(recipe, sampling=Dealt(folder)),
    )


def raced(sweep: Sweep, folder: Path, lane: str, workers: int) -> list[float]:
    folder.mkdir()
    sweep = replace(sweep, resources=Resources(workers=workers, gpus=0))
    (record,) = drive(sweep, folder, lane=lane, concurrency=1, machine=Machine.here(None), followers=[])
    assert record.error is None
    return [row[name] for row in record.history for name in ("train/loss", "val/loss", "samples")]


def test_two_workers_learn_from_the_stream_what_one_learns_in_memory(tmp_path: Path) -> None:
    lay(tmp_path / "set")
    found = raced(asked(tmp_path / "set", streamed=True), tmp_path / "crew", "crew", workers=2)
    alone = raced(asked(tmp_path / "set", streamed=False), tmp_path / "local", "local", workers=1)
    assert len(found) == 9
    assert found == pytest.approx(alone, rel=0, abs=TOLERANCE)
    assert found[2::3] == [61, 122, 183]


def test_ray_reads_what_is_read_here(tmp_path: Path) -> None:
    here = lay(tmp_path / "set")
    there = RayShards(shards=here)
    assert list(there.counts) == list(COUNTS)
    assert torch.equal(there.targets(), here.targets())
    for numbers in ([3, 0, 2, 4], [1], [2], []):
        for mine, theirs in zip(there.read(numbers), here.read(numbers), strict=True):
            assert [tensor.dtype for tensor in mine] == [tensor.dtype for tensor in theirs]
            assert all(map(torch.equal, mine, theirs))
    early = there.read([0, 1, 3, 4])
    next(early)
    early.close()
    assert ray.is_initialized()


def test_a_bad_row_is_named_as_it_is_here(tmp_path: Path) -> None:
    here = lay(tmp_path / "set")
    parquet.write_table(pa.table({"x": [1.0, None], "y": [1.0, 2.0], "kind": [0, 1]}), tmp_path / "set" / "1.parquet")
    again = replace(here)
    with pytest.raises(ConflictError, match=r"1\.parquet, row 2, column 'x' is empty; fill it, or drop the row"):
        list(RayShards(shards=again).read([0, 1]))
