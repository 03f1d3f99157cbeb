"""What a run says of its costs, through the loop: figures by epoch, energy, peaks, and their silence where nothing is known."""

from __future__ import annotations

import copy
import mmap
import threading
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain, count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tests.trainables.small import recipe, task
from tests.trainables.telemetry.nvml import Card, Nvml
from trainables import Task, WithinEpoch, accuracy
from trainables.fit import fit
from trainables.run import Run
from trainables.tally import shared
from trainables.telemetry import Meter
from trainables.telemetry.gpu import Address, Gpu
from trainables.telemetry.process import Process
from trainables.telemetry.watch import Watch
from trainables.world import World

METER = "trainables.telemetry.meter"


def watched(patch: pytest.MonkeyPatch, card: Card) -> None:
    """Let runs on the CPU find this card behind their device."""
    patch.setattr(f"{METER}.gpu_of", lambda _: Gpu.found(Nvml(card), Address(visible=card.uuid)))


def history(on: Task = task, *, world: World | None = None, **changes: Any) -> list[dict[str, Any]]:
    *_, epoch = fit(on, recipe(**changes), world=world)
    return epoch.run.history


def test_every_epoch_says_what_the_process_holds_and_uses() -> None:
    for row in history():
        assert 10**7 < row["system/rss_bytes"] <= row["peak_bytes"]
        assert row["system/cpu_percent"] > 0
        assert isinstance(row["peak_bytes"], int)
        assert isinstance(row["system/rss_bytes"], int)
        assert not [name for name in row if "gpu" in name or name in ("joules", "throttled")]


def test_the_peak_is_seen_between_two_looks() -> None:
    """128 MB that are held for a moment in the middle of an epoch."""

    def wasteful(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        with mmap.mmap(-1, 128 * 10**6) as held:  # of the kernel itself: what a process frees otherwise stays with it
            held[:: mmap.PAGESIZE] = bytes(len(range(0, len(held), mmap.PAGESIZE)))
        return accuracy(output, target)

    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        pytest.skip("this kernel does not begin its peak anew")
    row = history(replace(task, metrics={"accuracy": wasteful}), epochs=1)[-1]
    assert row["peak_bytes"] - row["system/rss_bytes"] > 100 * 10**6


def test_energy_is_the_counter_s_difference_epoch_by_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    watched(monkeypatch, Card())  # 250 mJ more at each question, of which an epoch has two
    assert [row["joules"] for row in history()] == [0.25, 0.5, 0.75, 1.0]


def test_energy_goes_on_where_a_run_was_left(monkeypatch: pytest.MonkeyPatch) -> None:
    watched(monkeypatch, Card())
    states = [epoch.run.state() for epoch in fit(task, recipe(epochs=2))]
    *_, last = fit(task, recipe(), state=states[-1])
    assert [row["joules"] for row in last.run.history] == [0.25, 0.5, 0.75, 1.0]


def broken_off() -> list[dict[str, Any]]:
    """A state after two of the four batches of the first epoch."""
    states: list[dict[str, Any]] = []

    def halved(run: Run, batches: Iterator[Any]) -> Iterator[Any]:
        for number, batch in enumerate(batches, start=1):
            yield batch
            if number == 2:
                states.append(copy.deepcopy(run.state(within=True)))

    list(fit(task, recipe(epochs=1), through=halved))
    return states


def test_energy_goes_on_where_an_epoch_was_broken_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """The state asks once, which is 250 mJ after the epoch began; two whole halves are then 500."""
    watched(monkeypatch, Card())
    (state,) = broken_off()
    assert state["within"][0]["spent"]["joules"] == 0.25
    *_, last = fit(task, recipe(epochs=2), state=state)
    assert [row["joules"] for row in last.run.history] == [0.5, 0.75]


@pytest.mark.parametrize(
    "card", [Card(unsupported=["Energy"]), Card(pids=(1, 2))], ids=["no counter", "another process"]
)
def test_an_epoch_whose_first_half_is_not_known_has_no_sum(monkeypatch: pytest.MonkeyPatch, card: Card) -> None:
    watched(monkeypatch, card)
    (state,) = broken_off()
    watched(monkeypatch, Card())
    *_, last = fit(task, recipe(epochs=2), state=state)
    assert len(last.run.history) == 2
    assert not any("joules" in row for row in last.run.history)


def test_energy_of_both_workers_goes_on_in_one() -> None:
    """Wall time is the first one's; an energy that one of them does not know is not known."""
    spent = [
        {"seconds": 4.0, "wall_seconds": 5.0, "cpu_seconds": 3.0, "joules": 10.0},
        {"seconds": 4.1, "wall_seconds": 5.1, "cpu_seconds": 2.0, "joules": 20.0},
    ]
    (state,) = broken_off()
    parts = [{**state["within"][0], "spent": one} for one in spent]
    found = shared(parts, 0, 1)["spent"]
    assert found == {"seconds": 4.0, "wall_seconds": 5.0, "cpu_seconds": 5.0, "joules": 30.0}
    assert shared(parts, 1, 3)["spent"] == {}
    assert "joules" not in shared([parts[0], {**parts[1], "spent": {"cpu_seconds": 2.0}}], 0, 1)["spent"]


@pytest.mark.parametrize(
    "card",
    [Card(unsupported=["Energy"]), Card(pids=(1, 2)), Card(uuid="MIG-1")],
    ids=["no counter", "another process", "an instance"],
)
def test_energy_that_is_not_this_run_s_is_not_told(monkeypatch: pytest.MonkeyPatch, card: Card) -> None:
    watched(monkeypatch, card)
    assert not any("joules" in row for row in history())


def test_a_counter_that_went_back_ends_what_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    watched(monkeypatch, Card(energy=chain([100, 350, 900, 20], count(1000, 250))))
    assert [row.get("joules") for row in history()] == [0.25, None, None, None]


def test_a_run_that_began_without_a_counter_has_no_sum(monkeypatch: pytest.MonkeyPatch) -> None:
    state = next(iter(fit(task, recipe()))).run.state()
    watched(monkeypatch, Card())
    *_, last = fit(task, recipe(), state=state)
    assert not any("joules" in row for row in last.run.history)


def test_a_device_is_looked_at_while_it_works(monkeypatch: pytest.MonkeyPatch) -> None:
    """The metric holds the epoch up until there were three looks."""
    readings = iter([(10, 50, 100_000, 60, 0x4), (30, 70, 300_000, 80, 0x0)])
    card, third = Card(), threading.Event()
    gpu = Gpu.found(Nvml(card), Address(visible=card.uuid))
    assert gpu is not None
    looks = count(1)

    def look() -> Any:
        values = next(readings, None)
        if values is not None:
            card.used, card.gpu, card.milliwatts, card.celsius, card.reasons = values
        if next(looks) >= 3:
            third.set()
            threading.Event().wait(0.01)
        return gpu.look()

    def waiting(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        assert third.wait(30)
        return accuracy(output, target)

    monkeypatch.setattr(f"{METER}.gpu_of", lambda _: gpu)
    monkeypatch.setattr(f"{METER}.Watch", lambda _: Watch(look, pace=0.0, first=0.0))
    row = history(replace(task, metrics={"accuracy": waiting}), epochs=1)[-1]
    assert (row["system/gpu_held_bytes"], row["system/gpu_celsius"]) == (30, 80.0)
    assert 50 < row["system/gpu_percent"] < 70
    assert 100 < row["system/gpu_watts"] < 300
    assert 0 < row["system/gpu_throttled_percent"] <= 50
    assert row["throttled"] == "power cap"
    assert not [thread for thread in threading.enumerate() if thread.name == "telemetry"]


def test_an_epoch_that_nobody_looked_at_has_no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    watched(monkeypatch, Card())
    monkeypatch.setattr(f"{METER}.Watch", lambda look: Watch(look, first=3600.0))
    (row,) = history(epochs=1)
    assert not [name for name in row if name.startswith("system/gpu")]


def test_a_phase_within_another_has_its_time_to_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0

    def passes(seconds: float) -> None:
        nonlocal now
        now += seconds

    monkeypatch.setattr(f"{METER}.time", SimpleNamespace(perf_counter=lambda: now, process_time=lambda: now / 2))
    meter = Meter(torch.device("cpu"))
    with meter.phase("train"):
        passes(5.0)
        with meter.phase("validate"):
            passes(2.0)
        passes(1.0)
    passes(100.0)
    with meter.phase("validate"):
        passes(4.0)
    assert meter.read() == {"train": 6.0, "validate": 6.0}
    used = meter.used()
    assert (used["seconds"], used["wall_seconds"], used["cpu_seconds"]) == (6.0, 12.0, 6.0)
    assert used["system/cpu_percent"] == pytest.approx(50 / Process().cpus)
    assert meter.used()["wall_seconds"] == 0.0


def test_validation_within_an_epoch_is_not_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a clock that moves in metrics alone, all time is validation's."""
    now = 0.0

    def slow(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        nonlocal now
        now += 1.0
        return accuracy(output, target)

    monkeypatch.setattr(f"{METER}.time", SimpleNamespace(perf_counter=lambda: now, process_time=lambda: now))
    row = history(replace(task, metrics={"accuracy": slow}), epochs=1, validation=WithinEpoch(every=0.5))[-1]
    assert row["seconds"] == 0.0
    assert row["wall_seconds"] == now >= 2.0
