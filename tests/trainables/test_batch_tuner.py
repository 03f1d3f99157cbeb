"""The tuner finds ends of memory that are known, whatever it takes, and its estimate from shapes is held against them."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor, nn

from tests.trainables.greedy import DEADLY, WIDTH, Greedy, task
from tests.trainables.small import recipe as small_recipe
from tests.trainables.small import task as small_task
from trainables import BF16, EMA, SGD, AdamW, ConflictError, Recipe, Task
from trainables.batch_limit import BatchLimit, Tried, batch_limit
from trainables.batch_trials import Given, Trials, _index, available
from trainables.batch_tuner import BatchTuner, Tuned, _free, tune
from trainables.footprint import Footprint, footprint
from trainables.live_bytes import LiveBytes
from trainables.models import CNN, MLP, Transformer
from trainables.throughput import Knee, knee

MEGABYTE = 10**6


def below(limit: int, seconds: Callable[[int], float] = lambda _: 0.0) -> Callable[[int], Tried]:
    return lambda batch: Tried(
        batch=batch, fits=batch <= limit, said=None if batch <= limit else "no room", seconds=seconds(batch)
    )


def limited(limit: int, *, first: int = 8, largest: int = 10_000, patience: float = 60.0) -> BatchLimit:
    return batch_limit(below(limit), first=first, largest=largest, patience=patience)


def test_it_doubles_until_memory_ends_and_closes_in() -> None:
    found = limited(1000)
    assert [one.batch for one in found.tried[:9]] == [8, 16, 32, 64, 128, 256, 512, 1024, 768]
    assert found.ended
    assert found.batch == 512
    assert 0.94 * 1000 < found.most <= 1000
    assert f"memory ends at {found.most}: " in found.reason
    assert "no room" in found.reason


@pytest.mark.parametrize("limit", [1, 2, 5, 7, 8, 9, 15, 16, 17, 100, 4095, 4096, 4097])
def test_any_end_is_found(limit: int) -> None:
    found = limited(limit)
    assert found.ended
    assert found.most <= limit < 1.07 * found.most + 1
    assert found.batch <= found.most < 2 * found.batch
    assert found.batch.bit_count() == 1


def test_it_always_ends_with_an_answer_and_its_reason() -> None:
    assert limited(10_000, largest=1079).reason == "the largest asked for, 1079, fits"
    assert limited(10_000, largest=1079).batch == 1024
    assert limited(10_000, first=64, largest=10).batch == 8
    none = limited(0)
    assert (none.batch, none.most, none.reason) == (0, 0, "not one sample fits (no room)")
    slow = batch_limit(below(10_000, float), first=8, largest=10_000, patience=60)
    assert (slow.batch, slow.ended) == (64, False)
    assert slow.reason == "64 fits, and took 64 s: more than 60 s, so nothing larger was tried"
    with pytest.raises(ValueError, match="first 0"):
        limited(1, first=0)


def test_the_knee_is_the_smallest_batch_that_is_as_good_as_the_best() -> None:
    """Throughput b / (1 + b / 100) saturates at 100; at 2048 it is 95.3, 95 % of which is reached from 1024 on."""
    rates = {
        2**power: [factor * 2**power / (1 + 2**power / 100) for factor in (1.0, 0.9, 1.1)] for power in range(3, 12)
    }
    found = knee(rates, within=0.05)
    assert (found.batch, found.low, found.high, found.grows) == (1024, 1024, 1024, False)
    assert knee(rates, within=0.2).batch == 512
    assert [pace.share.value for pace in found.paces][-1] == 1.0
    assert found.paces[-1].throughput.low == pytest.approx(0.9 * 2048 / 21.48)
    assert "flat beyond 1024" in found.says()


def test_a_knee_that_moves_between_rounds_says_so() -> None:
    found = knee({8: [100.0, 80.0, 99.0], 16: [100.0, 100.0, 100.0], 32: [101.0, 99.0, 70.0]}, within=0.05)
    assert (found.batch, found.low, found.high) == (8, 8, 16)
    growing = knee({8: [1.0, 1.0], 16: [2.0, 2.0]}, within=0.05)
    assert growing.grows
    assert "still grows at 16" in growing.says()
    with pytest.raises(ValueError, match="equally often"):
        knee({8: [1.0], 16: []}, within=0.05)


def greedy(**changes: object) -> Recipe:
    settings = {"model": Greedy(), "optimizer": SGD(lr=1e-6), "batch_size": 8, "epochs": 1}
    return Recipe(**settings | changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("layers", [2, 4, 7])
def test_activations_are_those_that_are_known(layers: int) -> None:
    """Every layer keeps its output; on the way back two gradients lie beside them, what comes in and what goes out."""
    found = footprint(task, greedy(model=Greedy(layers=layers)))
    assert not found.computed
    assert found.sample == pytest.approx(4 * WIDTH * (layers + 2), rel=0.01)
    assert found.model == 4
    assert found.optimizer == found.average == found.data == 0


def test_parameters_state_and_average_are_counted() -> None:
    model = MLP(widths=(50,))
    plain = footprint(small_task, small_recipe(model=model, optimizer=SGD(lr=0.1)))
    parameters = (2 * 50 + 50 + 50 * 3 + 3) * 8  # double precision
    assert (plain.model, plain.optimizer, plain.average) == (parameters, 0, 0)
    full = footprint(small_task, small_recipe(model=model, optimizer=AdamW(lr=0.1), average=EMA(decay=0.9)))
    # Two moments for every parameter, and a count of steps in single precision for each of the four tensors.
    assert full.optimizer == 2 * parameters + 4 * 4
    assert full.average == parameters
    assert full.bytes(100) == pytest.approx(full.held + 100 * full.sample)


@pytest.mark.parametrize(
    "model", [CNN(channels=(8,)), Transformer(width=16, depth=1, heads=2, steps=8)], ids=["cnn", "transformer"]
)
def test_shipped_models_can_be_followed_by_shapes(model: object) -> None:
    from trainables.tasks import digits

    found = footprint(digits, Recipe(model=model, precision=BF16()))  # type: ignore[arg-type]
    assert not found.computed
    assert found.sample > 64 * 4


class Looking(nn.Module):
    """What it does depends on its values."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(1, 1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.linear(x)
        return out if float(out.sum()) > 0 else -out


@dataclass(frozen=True, kw_only=True, slots=True)
class Looks:
    def build(self) -> nn.Module:
        return Looking()


def test_a_model_that_looks_at_its_values_is_run_on_a_few_samples() -> None:
    found = footprint(task, greedy(model=Looks()))
    assert found.computed
    assert found.sample > 0


def test_storages_are_counted_once_and_let_go() -> None:
    known = torch.ones(1000)
    with LiveBytes([known]) as live:
        known.mul_(2)
        assert live.now == 0
        made = known * 2
        view = made.view(10, 100)[2:]
        assert live.now == 4000
        del made
        assert live.now == 4000
        del view
        assert live.now == 0
        assert live.peak == 4000


@pytest.fixture(scope="module")
def process() -> Iterator[Trials]:
    """A process that may take 300 MB beyond what it begins with."""
    with Trials(Given(task, greedy()), device="cpu", limit=300 * MEGABYTE, threads=1) as trials:
        yield trials


def test_a_real_limit_is_hit_where_shapes_say(process: Trials) -> None:
    """12 MB a sample within 300 MB."""
    found = batch_limit(process.attempt, first=16, largest=150, patience=60)
    assert found.ended
    expected = footprint(task, greedy()).largest(300 * MEGABYTE)
    assert expected == pytest.approx(25, abs=1)
    assert 0.8 * expected <= found.most <= 1.25 * expected
    assert any(not one.fits and one.said and "memory" in one.said for one in found.tried)


def test_throughput_is_measured_in_rounds(process: Trials) -> None:
    rates = process.paced([2, 4], rounds=3, seconds=0.01)
    assert {batch: len(values) for batch, values in rates.items()} == {2: 3, 4: 3}
    assert all(value > 0 for values in rates.values() for value in values)
    assert process.paced([4, 100], rounds=1, seconds=0.01) == {}


def test_a_process_that_dies_is_an_answer(process: Trials) -> None:
    """What comes after is asked of a new one."""
    dead = process.attempt(DEADLY + 1)
    assert (dead.fits, dead.said) == (False, "its process was killed by SIGKILL")
    assert process.attempt(2).fits


def test_it_does_not_hear_an_interrupt(process: Trials) -> None:
    """Ctrl-C in a terminal reaches all processes; this one is ended by who started it, and prints nothing."""
    assert process.attempt(2).fits
    assert process._process is not None
    assert process._process.pid is not None
    os.kill(process._process.pid, signal.SIGINT)
    assert process.attempt(2).fits
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def tuned(limit: BatchLimit, estimated: int | None, pace: Knee | None = None) -> Tuned:
    return Tuned(
        batch=min(limit.batch, 64),
        workers=3,
        device="cpu",
        memory_bytes=10**9,
        limit=limit,
        knee=pace,
        footprint=Footprint(model=1, optimizer=1, average=0, data=0, step=1.0, sample=1.0, computed=False),
        estimated=estimated,
    )


def test_the_answer_in_words() -> None:
    """Several workers have a batch each; an estimate is held against what was measured, as far as that goes."""
    whole, ended, none = limited(2000, largest=1079), limited(1000), limited(0)
    assert tuned(whole, 3000).says() == (
        "Take 64 samples at once, 192 over 3 workers: the largest asked for, 1079, fits; memory ended whenever batches were timed "
        "beside each other."
    )
    assert tuned(whole, 3000).error is None
    assert "3000 samples fit; 1079 were seen to fit, and memory did not end." in tuned(whole, 3000).estimate_says()
    assert "it is too low by at least 50%" in tuned(whole, 540).estimate_says()
    assert tuned(whole, None).estimate_says() == "By shapes alone, nothing run, no end of memory can be told."
    assert tuned(ended, 1200).error == pytest.approx(1200 / ended.most - 1)
    assert (
        f"1200 samples fit: +{100 * (1200 / ended.most - 1):.0f} % of the {ended.most} measured"
        in tuned(ended, 1200).estimate_says()
    )
    short = tuned(ended, 1200, knee({64: [1.0], 128: [1.0], 256: [1.0]}, within=0.05)).says()
    assert "; 512 fits by itself, not beside others; throughput is flat beyond 64 (in one round; " in short
    assert tuned(none, 5).says().startswith("Nothing can be trained: not one sample fits (no room). Give more memory")
    assert tuned(none, 5).estimate_says() == "By shapes alone, nothing run, 5 samples fit, and not one was seen to."


def leaves() -> tuple[Task, Recipe]:
    """It ends the process that it is called in, unless that is this one."""
    if multiprocessing.parent_process() is not None:
        os._exit(3)
    return task, greedy()


def test_a_process_that_cannot_begin_is_no_answer() -> None:
    """It says nothing of memory; and what cannot travel is said before one is started."""
    with (
        Trials(leaves, device="cpu", limit=None, threads=1) as trials,
        pytest.raises(ConflictError, match="ended with 3 before"),
    ):
        trials.attempt(2)
    here = replace(task, data=lambda seed: task.data(seed))
    with (
        Trials(Given(here, greedy()), device="cpu", limit=None, threads=1) as trials,
        pytest.raises(ConflictError, match="task and recipe cannot travel to another process"),
    ):
        trials.attempt(2)


def test_workers_of_one_machine_share_what_is_free() -> None:
    alone, four = (_free("cpu", workers) for workers in (1, 4))
    assert 0.2 < four / alone < 0.3


@pytest.mark.parametrize(("device", "index"), [("cuda", 1), ("cuda:2", 2)])
def test_a_gpu_has_a_number(monkeypatch: pytest.MonkeyPatch, device: str, index: int) -> None:
    """The allocator's limit is not set for "cuda" alone: torch raises ValueError."""
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
    assert _index(device) == index


def test_what_is_wrong_with_the_recipe_is_said() -> None:
    with pytest.raises(ConflictError, match="batch tuner: BatchTuner first 0"):
        tune(Given(task, greedy()), BatchTuner(first=0))
    with pytest.raises(ConflictError, match="SGD lr -1"):
        tune(Given(task, greedy(optimizer=SGD(lr=-1.0))))


def test_there_is_memory_here() -> None:
    assert available() > 10 * MEGABYTE
