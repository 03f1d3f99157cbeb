"""Several workers, as real processes: the same numbers as one, at every shape of batch."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from sklearn.metrics import f1_score
from torch import Tensor, nn
from torch.multiprocessing.spawn import spawn

from tests.trainables.small import recipe, task
from trainables import EMA, AdamW, ClipNorm, Cosine, PerWorker, Plan, Recipe, WholeSet
from trainables.fit import fit
from trainables.models import MLP
from trainables.task import Splits
from trainables.train import train
from trainables.world import World

TOLERANCE = 1e-9


@dataclass(frozen=True, kw_only=True, slots=True)
class Spare:
    """A model with a parameter that the loss never sees."""

    def build(self) -> nn.Module:
        class Net(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.used, self.spare = nn.Linear(2, 3), nn.Linear(2, 3)

            def forward(self, points: Tensor) -> Tensor:
                return self.used(points)  # type: ignore[no-any-return]

        return Net()


@dataclass(frozen=True, kw_only=True, slots=True)
class Normed:
    """BatchNorm and dropout, whose statistics and masks are each worker's own."""

    def build(self) -> nn.Module:
        return nn.Sequential(nn.Linear(2, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 3))


# 61 samples: batches of 16 leave 13, batches of 20 leave one, which is an empty share for the second worker.
EQUAL = {
    "uneven": recipe(),
    "empty share": recipe(batch_size=20),
    "accumulation": recipe(batch_size=20, micro_batch=3),
    "more parts in one than in the other": recipe(batch_size=9, micro_batch=4),
    "everything": recipe(
        batch_size=20,
        micro_batch=7,
        optimizer=AdamW(lr=0.02),
        schedule=Cosine(warmup=0.2),
        average=EMA(decay=0.9),
        clip=ClipNorm(0.5),
    ),
    "a parameter without a gradient": recipe(model=Spare(), batch_size=20),
    "batches of one": recipe(batch_size=1, epochs=1),
}


def f1(output: Tensor, target: Tensor) -> float:
    return float(f1_score(target, output.argmax(1), average="macro"))


def rows(settings: Recipe, world: World | None = None) -> list[dict[str, float]]:
    measured = replace(task, metrics={**task.metrics, "f1": WholeSet(f1)})
    return [dict(epoch.metrics) for epoch in fit(measured, settings, world=world)]


def worker(rank: int, folder: str, size: int, work: Callable[[World], Any]) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=size)
    world = World(rank=rank, size=size, group=dist.new_group())
    torch.save(work(world), f"{folder}/{rank}.pt")
    dist.destroy_process_group()  # its threads, left alone, may still run while the process ends, which then aborts


def together(size: int, work: Callable[[World], Any]) -> list[Any]:
    """What ``work`` gives in each of ``size`` processes."""
    with tempfile.TemporaryDirectory() as folder:
        spawn(worker, (folder, size, work), nprocs=size)
        return [torch.load(f"{folder}/{rank}.pt") for rank in range(size)]


def equal_cases(world: World) -> dict[str, list[dict[str, float]]]:
    return {name: rows(settings, world) for name, settings in EQUAL.items()}


@pytest.mark.parametrize("size", [2, 3])
def test_several_workers_give_the_losses_of_one(size: int) -> None:
    results = together(size, equal_cases)
    for name, settings in EQUAL.items():
        alone = rows(settings)
        for result in results:
            assert [row.keys() for row in result[name]] == [row.keys() for row in alone]
            for mine, theirs in zip(result[name], alone, strict=True):
                assert mine == pytest.approx(theirs, rel=0, abs=TOLERANCE), name
    assert results[0] == results[-1]


def normed(world: World) -> tuple[list[dict[str, float]], dict[str, Tensor], dict[str, Tensor]]:
    settings = recipe(model=Normed(), average=EMA(decay=0.9))
    *_, last = fit(task, settings, world=world)
    assert last.run.average is not None
    return rows(settings, world), last.run.module.state_dict(), last.run.average.module.state_dict()


def test_buffers_are_the_same_for_all_and_a_run_can_be_repeated() -> None:
    (rows0, module0, average0), (rows1, module1, average1) = together(2, normed)
    assert rows0 == rows1
    for mine, theirs in ((module0, module1), (average0, average1)):
        assert mine.keys() == theirs.keys()
        assert all(torch.equal(mine[name], theirs[name]) for name in mine)
    assert float(module0["1.running_var"].std()) > 0
    again, *_ = together(2, normed)[0]
    assert again == rows0


def broken_off(world: World) -> tuple[list[float], list[float], list[str]]:
    """Two epochs, then the same call again from what the first worker kept."""
    folder = Path(world.told(tempfile.mkdtemp()))
    settings = EQUAL["everything"]
    asked: list[int] = []

    def until(last: int) -> Callable[[Sequence[Mapping[str, Any]]], bool]:
        def report(history: Sequence[Mapping[str, Any]]) -> bool:
            asked.append(len(history))
            return len(history) == last if world.first else len(history) == 1

        return report

    first = train(task, settings, folder=folder, report=until(2), world=world)
    then = train(task, settings, folder=folder, report=until(99), world=world)
    assert asked == [1, 2, 3, 4]
    # The first one writes, and the others may be back before it has.
    names: list[str] = world.told(sorted(path.name for path in folder.iterdir()) if world.first else [])
    return [row["train/loss"] for row in first.history], [row["train/loss"] for row in then.history], names


def test_a_stop_reaches_all_and_all_go_on_from_the_first_workers_checkpoint() -> None:
    results = together(2, broken_off)
    alone = [row["train/loss"] for row in rows(EQUAL["everything"])]
    for stopped, whole, names in results:
        assert len(stopped) == 2
        assert whole == pytest.approx(alone, rel=0, abs=TOLERANCE)
        assert names == ["before.pt", "best.safetensors", "last.pt"]


def failing(world: World) -> str:
    def report(_: Sequence[Mapping[str, Any]]) -> bool:
        if world.first:
            raise OSError("no space")
        return False

    try:
        train(task, recipe(), folder=Path(tempfile.mkdtemp()), report=report, world=world)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "it went on"


def test_a_failure_of_one_is_one_of_all() -> None:
    """The others do not wait for a worker that has left."""
    first, second = together(2, failing)
    assert first == "OSError: no space"
    assert "closed" in second or "reset" in second


def test_shares_hold_every_sample_once() -> None:
    batch = (torch.arange(10), torch.arange(10))
    for size in (1, 2, 3, 4, 11):
        shares = [World(rank=rank, size=size).part(batch) for rank in range(size)]
        assert torch.equal(torch.cat([share[0] for share in shares]), batch[0])
        lengths = [len(share[0]) for share in shares]
        assert max(lengths) - min(lengths) <= 1


def test_a_batch_size_may_grow_with_the_workers() -> None:
    settings = recipe(batch_size=PerWorker(8))
    assert Plan.of(settings, 61, workers=1).batch_size == 8
    assert Plan.of(settings, 61, workers=4).batch_size == 32
    assert Plan.of(settings, 61, workers=4).micro_batch == 8
    assert rows(settings) == rows(recipe(batch_size=8))
    assert list(recipe(batch_size=PerWorker(0)).conflicts()) == [
        "PerWorker samples 0 must be a whole number from 1; 64 is a usual start"
    ]


def test_the_plan_counts_what_one_worker_does() -> None:
    plan = Plan.of(recipe(batch_size=50, micro_batch=10), 200, workers=4)
    assert (plan.accumulation, plan.micro_batch, plan.steps_per_epoch) == (2, 10, 4)
    assert Plan.of(recipe(batch_size=50), 200, workers=4).micro_batch == 13


def test_the_model_of_one_is_called_as_it_is() -> None:
    module = MLP(widths=(4,), inputs=2, outputs=3).build()
    assert World().joined(module, unused=False) is module
    assert isinstance(task.data(0), Splits)
