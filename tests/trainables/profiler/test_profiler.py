"""Where the time goes: to the tick with a clock that moves by hand, and through whole runs with the real one."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.trainables.small import recipe, task
from trainables import EMA, Auto, ClipNorm, ConflictError, Keep, Profile, Recipe, WithinEpoch, accuracy
from trainables.checkpoints import Found, Keeper
from trainables.fit import Epoch, fit
from trainables.profiler import PHASES, Profiled, profile
from trainables.profiler.profiler import Marking, Profiler
from trainables.run import Run
from trainables.scaler import Unscaled
from trainables.train import train
from trainables.world import World


class Ticks:
    """A clock that stands still but where something says how long it takes, and in whose name."""

    def __init__(self) -> None:
        self.at = 0.0
        self.spent: Counter[str] = Counter()
        self.times: Counter[str] = Counter()

    def take(self, phase: str, ticks: int) -> None:
        self.at += ticks
        self.spent[phase] += ticks
        self.times[phase] += 1

    def begin_anew(self) -> None:
        self.spent.clear()
        self.times.clear()

    def now(self) -> float:
        return self.at

    def passed(self, begin: float, end: float) -> float:
        return end - begin

    def readable(self, _: float) -> bool:
        return True

    def settle(self) -> None:
        pass


class Slow(torch.autograd.Function):
    """The identity, whose derivative takes seven ticks."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, ticks: Ticks) -> Tensor:
        ctx.ticks = ticks
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        ctx.ticks.take("backward", 7)
        return grad, None


class Net(nn.Module):
    def __init__(self, ticks: Ticks) -> None:
        super().__init__()
        self.layer, self.ticks = nn.Linear(2, 3), ticks
        self.register_state_dict_pre_hook(lambda *_: ticks.take("checkpoint", 13))  # type: ignore[no-untyped-call]

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return self.layer(x)  # type: ignore[no-any-return]
        self.ticks.take("forward", 5)
        return Slow.apply(self.layer(x), self.ticks)  # type: ignore[no-any-return, no-untyped-call]


@dataclass(frozen=True, kw_only=True)
class Parts:
    """Model, optimizer, augmentation and metric that move the clock."""

    ticks: Ticks

    def build(self) -> nn.Module:
        return Net(self.ticks)

    def recipe(self, **changes: Any) -> Recipe:
        ticks = self.ticks

        @dataclass(frozen=True)
        class Late:
            def __call__(self, batch: tuple[Tensor, ...], _: torch.Generator) -> tuple[Tensor, ...]:
                ticks.take("data", 3)
                return batch

            def conflicts(self) -> Iterator[str]:
                yield from ()

        class Step:
            lr = 0.1

            def build(self, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
                made = torch.optim.SGD(parameters, lr=self.lr)
                made.register_step_post_hook(lambda *_: ticks.take("optimizer", 2))
                return made

            def conflicts(self) -> Iterator[str]:
                yield from ()

        return recipe(model=self, augment=Late(), optimizer=Step(), **changes)

    def metric(self, output: Tensor, target: Tensor) -> Tensor:
        self.ticks.take("validation", 11)
        return accuracy(output, target)


def between(epochs: Iterator[Epoch], ticks: Ticks) -> Iterator[Epoch]:
    """What comes between the loop and the keeping, a hook say."""
    for epoch in epochs:
        ticks.take("other", 17)
        yield epoch


@pytest.mark.parametrize(
    ("changes", "every"),
    [({}, None), ({"micro_batch": 8}, None), ({"validation": WithinEpoch(every=0.5)}, 3), ({"micro_batch": Auto()}, 1)],
    ids=["plain", "micro-batches", "looks and checkpoints within", "a checkpoint after every step"],
)
def test_every_tick_is_told_once_and_where_it_belongs(
    tmp_path: Path, changes: dict[str, Any], every: int | None
) -> None:
    ticks = Ticks()
    parts = Parts(ticks=ticks)
    told = replace(task, metrics={"accuracy": parts.metric})
    profiler = Profiler(Profile(), torch.device("cpu"), every=every, clock=ticks)
    with Keeper(tmp_path, Keep(steps=every), Found()) as keeper:
        inner = fit(told, parts.recipe(epochs=3, **changes), through=profiler.around(keeper.between))
        for epoch in profiler.whole(keeper.kept(profiler.handed_over(between(profiler.validated(inner), ticks)))):
            if epoch.epoch == 1:
                ticks.begin_anew()
            ticks.at += 1000.0  # a report takes its time, which is not the run's
    found = profiler.profiled(World())
    assert found is not None
    assert {each.phase: each.total for each in found.phases} == dict(ticks.spent)
    assert {"data", "forward", "backward", "optimizer", "validation", "checkpoint", "other"} == set(ticks.spent)
    assert found.seconds == sum(ticks.spent.values())
    assert sum(each.share for each in found.phases) == pytest.approx(1.0, rel=1e-12)
    assert (found.epochs, found.steps) == ((2, 3), 8)
    for phase in ("data", "forward", "backward", "optimizer"):
        timing = found.phase(phase)
        assert timing is not None
        assert timing.count == ticks.times[phase]
        assert timing.mean == timing.p50 == timing.least == timing.greatest == ticks.spent[phase] / ticks.times[phase]
    assert ticks.times["forward"] == (16 if changes.get("micro_batch") == 8 else 8)


def test_one_epoch_alone_is_told_with_its_warming_up(tmp_path: Path) -> None:
    (found,) = [profiled(tmp_path, recipe(epochs=1))]
    assert (found.epochs, found.steps) == ((1,), 4)


def profiled(folder: Path, settings: Recipe, asked: Profile | None = None, **changes: Any) -> Profiled:
    trained = train(task, settings, folder=folder, report=lambda _: False, profile=asked or Profile(), **changes)
    assert trained.profiled is not None
    return trained.profiled


def figures(history: Any) -> list[dict[str, Any]]:
    """What is learned, of each row."""
    return [{name: row[name] for name in row if name.startswith(("train/", "val", "test/"))} for row in history]


@pytest.mark.parametrize(
    "changes",
    [{}, {"micro_batch": 5, "average": EMA(decay=0.9), "clip": ClipNorm(0.1)}, {"micro_batch": Auto()}],
    ids=["plain", "more", "auto"],
)
def test_a_profiled_run_learns_the_same_bit_for_bit(tmp_path: Path, changes: dict[str, Any]) -> None:
    settings, rows = recipe(**changes), []
    for name, asked in (("off", None), ("on", Profile())):
        trained = train(task, settings, folder=tmp_path / name, report=lambda _: False, profile=asked)
        rows.append(figures(trained.history))
        assert (trained.profiled is None) == (asked is None)
    assert rows[0] == rows[1]
    assert len(rows[0]) == 4


def test_phases_lie_within_what_the_loop_itself_measures(tmp_path: Path) -> None:
    rows: list[Any] = []
    trained = train(
        task, recipe(), folder=tmp_path, report=lambda history: bool(rows.append(history[-1])), profile=Profile()
    )
    found = trained.profiled
    assert found is not None
    assert [each.phase for each in found.phases] == [phase for phase in PHASES if found.phase(phase) is not None]
    steps = sum(each.total for each in found.phases if each.phase in ("data", "forward", "backward", "optimizer"))
    assert 0 < steps <= rows[-1]["seconds"] - rows[0]["seconds"]
    assert found.seconds >= rows[-1]["wall_seconds"] - rows[0]["wall_seconds"]
    assert found.seconds == pytest.approx(sum(each.total for each in found.phases), rel=1e-12)
    for each in found.phases:
        assert each.least <= each.p50 <= each.p95 <= each.p99 <= each.greatest
        assert each.least <= each.mean <= each.greatest
    assert all(0 < row["system/data_percent"] < 100 for row in rows)


def dressed(run: Run) -> list[bool]:
    """What stands between the loop and its parts."""
    hooks = [run.module._forward_hooks, run.module._forward_pre_hooks, run.module._backward_hooks]
    stepping = [run.optimizer._optimizer_step_pre_hooks, run.optimizer._optimizer_step_post_hooks]
    return [type(run.scaler) is not Unscaled, "zero_grad" in vars(run.optimizer), any([*hooks, *stepping])]


@pytest.mark.parametrize("asked", [None, Profile()], ids=["off", "on"])
def test_off_means_that_nothing_is_there(tmp_path: Path, asked: Profile | None) -> None:
    """Not in the middle of an epoch, and nowhere once an epoch is over."""
    inside: list[list[bool]] = []
    runs: list[Run] = []

    def look(run: Run, batches: Iterator[Any]) -> Iterator[Any]:
        for batch in batches:
            yield batch
            inside.append(dressed(run))
            assert isinstance(run.scaler, Marking) == (asked is not None)

    def kept(epochs: Iterator[Epoch]) -> Iterator[Epoch]:
        for epoch in epochs:
            runs.append(epoch.run)
            assert not any(dressed(epoch.run))
            yield epoch

    settings = recipe(hooks=(kept,))
    train(task, settings, folder=tmp_path, report=lambda _: False, profile=asked, through=look)
    assert len(inside) == 16
    assert all(found == [asked is not None, asked is not None, False] for found in inside)
    assert not any(dressed(runs[-1]))


@pytest.mark.parametrize(
    ("steps", "traced"),
    [((5, 6), (5, 6)), ((11, 99), (11, 12)), ((100, 101), None)],
    ids=["some", "to the end", "none"],
)
def test_torch_s_own_trace_of_some_steps(
    tmp_path: Path, steps: tuple[int, int], traced: tuple[int, int] | None
) -> None:
    path = tmp_path / "traces" / "trace.json"
    found = profiled(tmp_path / "run", recipe(epochs=3, micro_batch=8), Profile(trace=steps), trace=path)
    assert found.traced == traced
    assert found.trace == (str(path) if traced is not None else None)
    assert path.exists() == (traced is not None)
    assert found.steps == (8 - (traced[1] - traced[0] + 1) if traced is not None else 8)  # what is traced is slower
    if traced is not None:
        names = Counter(event.get("name") for event in json.loads(path.read_text())["traceEvents"])
        several = traced[1] - traced[0] + 1
        assert {name: names[name] for name in ("data", "forward", "optimizer")} == dict.fromkeys(
            ("data", "forward", "optimizer"), several
        )
        assert names["backward"] == 2 * several  # of both micro-batches
        assert names["aten::addmm"] > 0


def test_by_a_call(tmp_path: Path) -> None:
    found = profile(task, recipe(), epochs=2, place=tmp_path)
    assert (found.epochs, found.steps, found.workers) == ((2,), 4, 1)
    assert found.device.startswith("CPU, ")
    assert json.loads(json.dumps(found.to_json()))["phases"][0]["phase"] == "data"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (Profile(trace=(0, 3)), "steps are counted from 1"),
        (Profile(trace=(5, 4)), "the last is not before the first"),
        (Profile(trace="5-6"), "must be two whole numbers"),  # type: ignore[arg-type]
        (Profile(trace=(5, 6)), "there is no file to write it to"),
    ],
    ids=["from 0", "backwards", "text", "no file"],
)
def test_what_is_asked_wrongly_is_said(settings: Profile, said: str) -> None:
    with pytest.raises(ConflictError, match=said):
        profile(task, recipe(), settings=settings)


def test_a_trace_that_cannot_be_written_is_refused_before_anything_is_trained(tmp_path: Path) -> None:
    for place, said in ((tmp_path, "is a folder; name a file"), (tmp_path / "none" / "t.json", "which is none")):
        with pytest.raises(ConflictError, match=said):
            profile(task, recipe(), settings=Profile(trace=(5, 6)), trace=place)
