"""Sets on disk: what is written is what is read, in less memory than the set has."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.trainables.small import recipe, task
from trainables import FP32, ConflictError, InMemory
from trainables.batches import split
from trainables.data import Mapped, write
from trainables.fit import fit
from trainables.splitting import divided, random, stratified

TYPES = (
    torch.float16,
    torch.bfloat16,
    torch.float32,
    torch.float64,
    torch.uint8,
    torch.int32,
    torch.int64,
    torch.bool,
)


def test_every_type_and_shape_comes_back(tmp_path: Path) -> None:
    columns = (*(torch.arange(24).reshape(6, 2, 2).to(kind) for kind in TYPES), torch.arange(6))
    source = write(tmp_path / "set", split(columns, 4))
    rows = torch.tensor([5, 0, 0])
    for mine, theirs in zip(source.take(rows), columns, strict=True):
        assert mine.dtype == theirs.dtype
        assert torch.equal(mine, theirs[rows])
    (whole,) = source.in_order(0, 6, 10)
    assert all(map(torch.equal, whole, columns))
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_a_pickle_holds_the_path_alone(tmp_path: Path) -> None:
    """Sent to another process, the set is opened there."""
    source = write(tmp_path / "set", [(torch.randn(2000, 8), torch.arange(2000))])
    sent = pickle.dumps(source)
    assert len(sent) < 1000
    again = pickle.loads(sent)
    assert all(map(torch.equal, again.take(torch.arange(5)), source.take(torch.arange(5))))


def test_a_set_that_is_there_is_left_alone(tmp_path: Path) -> None:
    first = write(tmp_path / "set", [(torch.zeros(3, 2), torch.arange(3))])
    second = write(tmp_path / "set", [(torch.ones(3, 2), torch.arange(3))])
    assert torch.equal(second.take(torch.arange(3))[0], first.take(torch.arange(3))[0])
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_what_is_in_the_way_is_told_before_a_batch_is_made(tmp_path: Path) -> None:
    def batches() -> Iterator[tuple[torch.Tensor, ...]]:
        raise AssertionError("a batch was made")
        yield

    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("")
    (tmp_path / "file").write_text("")
    for name in ("full", "file"):
        with pytest.raises(ConflictError, match=rf"{name} is there already and holds no set\.json; name a folder"):
            write(tmp_path / name, batches())
    (tmp_path / "empty").mkdir()
    first = write(tmp_path / "empty", [(torch.zeros(3, 2), torch.arange(3))])
    assert write(tmp_path / "empty", batches()).samples == first.samples == 3


def test_what_is_no_whole_set_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConflictError, match=r"nowhere holds no set\.json; write the set there"):
        Mapped(tmp_path / "nowhere")
    folder = tmp_path / "set"
    write(folder, [(torch.zeros(3, 2), torch.arange(3))])
    (folder / "0.bin").write_bytes(b"1234")
    with pytest.raises(ConflictError, match=r"0\.bin has 4 bytes where 24 belong; delete the folder"):
        Mapped(folder)
    (folder / "0.bin").unlink()
    with pytest.raises(ConflictError, match=r"0\.bin has 0 bytes where 24 belong"):
        Mapped(folder)
    (folder / "set.json").write_text(json.dumps({"format": 9}))
    with pytest.raises(ConflictError, match="format 9, this version reads 1"):
        Mapped(folder)
    for text in ("{", "[]", "{}", '{"format": 1, "samples": 3, "columns": [{"type": "float33", "shape": []}]}'):
        (folder / "set.json").write_text(text)
        with pytest.raises(ConflictError, match=r"damaged set\.json"):
            Mapped(folder)
    (tmp_path / "file").write_text("")
    with pytest.raises(ConflictError, match=r"file holds no set\.json"):
        Mapped(tmp_path / "file")


def test_what_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ConflictError, match="there is no sample"):
        write(tmp_path / "set", [])
    with pytest.raises(ConflictError, match="a batch holds"):
        write(tmp_path / "set", [(torch.zeros(3, 2), torch.arange(3)), (torch.zeros(3, 3), torch.arange(3))])

    with pytest.raises(ConflictError, match=r"a batch holds tensors of \[2, 3\] samples"):
        write(tmp_path / "set", [(torch.zeros(3, 2), torch.arange(2))])
    with pytest.raises(ConflictError, match="of which one has no values"):
        write(tmp_path / "set", [(torch.zeros(3, 0), torch.arange(3))])

    def broken() -> None:
        raise OSError("no more samples")

    with pytest.raises(OSError, match="no more samples"):
        write(tmp_path / "set", ((torch.zeros(3, 2), torch.arange(3)) if place < 1 else broken() for place in range(2)))
    assert not list(tmp_path.iterdir())


def test_a_source_is_divided_as_tensors_are() -> None:
    whole = task.data(0)
    inputs, target = (torch.cat([a, b, c]) for a, b, c in zip(whole.train, whole.val, whole.test, strict=True))
    for seed in (1, 2):
        for by_class, made in ((True, stratified), (False, random)):
            theirs = made(inputs, target, seed=seed)
            mine = divided(InMemory((inputs, target)), seed=seed, by_class=by_class)
            for name, source in mine.named().items():
                assert all(map(torch.equal, source.take(torch.arange(source.samples)), theirs.named()[name]))


LIMITED = """
import resource, sys
from pathlib import Path
import numpy as np
import torch
from tests.trainables.data.test_mapped import LARGE, SETTINGS
from tests.trainables.small import task
from trainables.data import Mapped
from trainables.fit import fit
from trainables.splitting import divided
import torch._dynamo  # what the optimizer loads in its first step

torch.set_num_threads(1)
source = Mapped(Path(sys.argv[1]))
held = next(int(line.split()[1]) for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmData"))
resource.setrlimit(resource.RLIMIT_DATA, [1024 * held + LARGE // 2] * 2)
try:
    np.fromfile(Path(sys.argv[1]) / "0.bin", np.float32)
except MemoryError:
    print("does not fit")
for epoch in fit(task, SETTINGS, splits=divided(source, seed=3)):
    print(repr(dict(epoch.metrics)))
"""
"""Data may grow by half of what the set has; pages of a file that is mapped to be read do not count, and need not stay."""

LARGE = 96_000_000
SETTINGS = recipe(batch_size=64, epochs=1, precision=FP32())


def test_a_set_larger_than_the_memory_is_trained(tmp_path: Path) -> None:
    """In a process that may not hold it; the figures are those of a process that may."""
    samples, width = 6_000, 4_000
    drawn = torch.Generator().manual_seed(0)
    target = torch.arange(samples) % 3
    inputs = torch.randn(samples, width, generator=drawn)
    assert inputs.nbytes == LARGE
    write(tmp_path / "set", split((inputs, target), 500))
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(tmp_path / "set")], capture_output=True, text=True, cwd=Path.cwd()
    )
    assert done.returncode == 0, done.stderr
    said, *rows = done.stdout.splitlines()
    assert said == "does not fit"
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        plain = [repr(dict(epoch.metrics)) for epoch in fit(task, SETTINGS, splits=stratified(inputs, target, seed=3))]
    finally:
        torch.set_num_threads(threads)
    assert rows == plain
