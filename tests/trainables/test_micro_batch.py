"""A micro-batch that is found: running out of memory costs a repeated step and nothing else."""

from __future__ import annotations

import resource
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.trainables.small import recipe, task
from tests.trainables.test_world import together
from trainables import EMA, Auto, ClipNorm
from trainables.fit import Epoch, fit
from trainables.micro_batch import out_of_memory
from trainables.world import World

ROOT = Path(__file__).resolve().parents[2]


class Small(nn.Module):
    """Runs out of memory above ``limit`` samples in training, after dropout and BatchNorm have done their part."""

    def __init__(self, limit: int, dropout: float, norm: bool) -> None:
        super().__init__()
        self.limit = limit
        self.enter = nn.Sequential(nn.Linear(2, 16), nn.BatchNorm1d(16) if norm else nn.Identity(), nn.Dropout(dropout))
        self.leave = nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.enter(x)
        if self.training and len(x) > self.limit:
            raise torch.OutOfMemoryError(f"{len(x)} samples are too many")
        return self.leave(hidden)  # type: ignore[no-any-return]


@dataclass(frozen=True, kw_only=True, slots=True)
class Net:
    limit: int = 1000
    dropout: float = 0.0
    norm: bool = False

    def build(self) -> nn.Module:
        return Small(self.limit, self.dropout, self.norm)


def epochs(world: World | None = None, **changes: Any) -> list[Epoch]:
    settings: dict[str, Any] = {"batch_size": 16, "epochs": 3, "clip": ClipNorm(0.5), "average": EMA(decay=0.9)}
    return list(fit(task, recipe(**settings | changes), world=world))


def metrics(world: World | None = None, **changes: Any) -> list[dict[str, float]]:
    return [dict(epoch.metrics) for epoch in epochs(world, **changes)]


@pytest.mark.parametrize("limit", [15, 8, 5, 1])
def test_running_out_of_memory_changes_nothing(limit: int) -> None:
    plain = metrics(model=Net())
    survived = epochs(model=Net(limit=limit), micro_batch=Auto())
    for mine, theirs in zip(survived, plain, strict=True):
        assert mine.metrics == pytest.approx(theirs, rel=0, abs=1e-11)
    found = survived[-1].run.micro_batch
    assert found <= limit < 2 * found + 1
    assert survived[-1].run.history[-1]["micro_batch"] == found


def test_the_step_is_repeated_as_if_it_had_been_taken_in_small_parts_from_the_start() -> None:
    """Dropout's masks and BatchNorm's statistics too, bit for bit."""
    model = {"dropout": 0.4, "norm": True}
    survived = epochs(model=Net(limit=4, **model), micro_batch=Auto())  # type: ignore[arg-type]
    assert survived[-1].run.micro_batch == 4
    small = epochs(model=Net(**model), micro_batch=Auto(first=4))  # type: ignore[arg-type]
    assert [epoch.metrics for epoch in survived] == [epoch.metrics for epoch in small]
    state = small[-1].run.module.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in survived[-1].run.module.state_dict().items())


def test_what_was_found_is_kept_by_a_resumed_run() -> None:
    from trainables.run import Run

    settings = recipe(model=Net(limit=5), micro_batch=Auto(), epochs=2)
    first = next(iter(fit(task, settings)))
    resumed = Run.start(task, settings, splits=None, device=torch.device("cpu"))
    assert resumed.micro_batch == 16
    resumed.load(first.run.state())
    assert resumed.micro_batch == 4


def test_one_sample_that_does_not_fit_ends_it_with_words() -> None:
    with pytest.raises(MemoryError, match="a micro-batch of one sample does not fit: 1 samples are too many"):
        epochs(model=Net(limit=0), micro_batch=Auto())


def test_without_auto_it_is_an_error() -> None:
    with pytest.raises(torch.OutOfMemoryError):
        epochs(model=Net(limit=8))


def test_other_errors_pass() -> None:
    def wrong(*_: Tensor) -> Tensor:
        raise RuntimeError("a shape is wrong")

    with pytest.raises(RuntimeError, match="a shape is wrong"):
        epochs(model=Net(), loss=wrong, micro_batch=Auto())


def one_worker_is_small(world: World) -> tuple[list[dict[str, float]], int]:
    """The second worker alone runs out of memory."""
    found = epochs(world, model=Net(limit=3 if world.rank else 1000), batch_size=20, micro_batch=Auto())
    return [dict(epoch.metrics) for epoch in found], found[-1].run.micro_batch


def test_workers_halve_together_where_one_runs_out() -> None:
    """61 samples in batches of 20: the last batch is an empty share for the second worker."""
    plain = metrics(model=Net(), batch_size=20)
    for mine, micro_batch in together(2, one_worker_is_small):
        assert micro_batch == 3
        for row, expected in zip(mine, plain, strict=True):
            assert row == pytest.approx(expected, rel=0, abs=1e-9)


def masks(world: World) -> list[list[dict[str, float]]]:
    """With dropout: out of memory in one worker, and small parts from the start."""
    settings: dict[str, Any] = {"batch_size": 16}
    tight = Net(limit=2 if world.rank else 1000, dropout=0.4)
    return [
        metrics(world, model=tight, micro_batch=Auto(), **settings),
        metrics(world, model=Net(dropout=0.4), micro_batch=Auto(first=2), **settings),
    ]


def test_every_worker_draws_again_what_it_had_drawn() -> None:
    for survived, small in together(2, masks):
        assert survived == small


HUNGRY = """
import resource, sys
import torch
from torch import nn
from tests.trainables.small import recipe, task
from dataclasses import dataclass
from trainables import Auto, Recipe, SGD
from trainables.fit import fit

class Wide(nn.Module):
    def __init__(self):
        super().__init__()
        self.enter, self.leave = nn.Linear(2, 4), nn.Linear(4, 3)
    def forward(self, x):
        waste = torch.zeros(len(x), 24 * 2**20, dtype=torch.uint8) if self.training else None
        return self.leave(self.enter(x)) + (0 if waste is None else waste[:, :1] * 0.0)

@dataclass(frozen=True, kw_only=True, slots=True)
class Net:
    def build(self): return Wide()

torch.set_num_threads(1)
list(fit(task, recipe(model=Net(), epochs=1, batch_size=1)))  # whatever the first run loads is loaded
size = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (size + 300 * 2**20, size + 300 * 2**20))
(epoch,) = fit(task, recipe(model=Net(), epochs=1, batch_size=32, micro_batch=Auto()))
print(epoch.run.micro_batch, epoch.metrics["train/loss"])
"""


def test_memory_that_really_runs_out() -> None:
    """24 MiB a sample where 300 MiB are left: 32 and 16 do not fit, 8 do."""
    done = subprocess.run([sys.executable, "-c", HUNGRY], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found, _ = done.stdout.split()
    assert int(found) == 8
    assert resource.getrlimit(resource.RLIMIT_AS)[0] == resource.RLIM_INFINITY


def test_what_counts_as_out_of_memory() -> None:
    assert out_of_memory(MemoryError())
    assert out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    assert out_of_memory(RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"))
    assert not out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert not out_of_memory(ValueError("out of memory"))


def test_conflicts() -> None:
    assert "first 0" in next(iter(recipe(micro_batch=Auto(first=0)).conflicts()))
