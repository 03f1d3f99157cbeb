"""Whole runs in packs: endings, files, and going on after a kill."""

from __future__ import annotations

import gc
import json
import random
import signal
import subprocess
import sys
import time
import weakref
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.trainables.small import recipe, task
from trainables import EMA, SGD, EarlyStopping, Recipe
from trainables.checkpoints import load_weights
from trainables.checkpoints.weights import save_weights
from trainables.fused.states import States
from trainables.fused.train import Member, train_together
from trainables.keep import BEST, LAST
from trainables.run import Run
from trainables.train import Trained, train

TOLERANCE = 1e-12

KILLS = 5


def recipes() -> dict[str, Recipe]:
    """Five members: of other rates, seeds and lengths, one that stops early, one that diverges."""
    found = {
        str(seed): recipe(seed=seed, optimizer=SGD(lr=0.02 * (seed + 1)), average=EMA(decay=0.9)) for seed in range(3)
    }
    found["patient"] = recipe(
        seed=7, epochs=9, optimizer=SGD(lr=0.3), average=EMA(decay=0.9), stop=EarlyStopping(patience=2)
    )
    found["wild"] = recipe(seed=8, epochs=9, optimizer=SGD(lr=1e200), average=EMA(decay=0.9))
    return found


def together(folder: Path, stops: Mapping[str, int] | None = None, **settings: Any) -> dict[str, Trained]:
    """All members in one pack; ``stops`` are asked to stop after an epoch."""
    splits = task.load(0)
    members = {
        name: Member(name=name, recipe=each, folder=folder / name, splits=splits) for name, each in recipes().items()
    }
    over: dict[str, Trained] = {}

    def report(histories: Mapping[str, Sequence[Mapping[str, Any]]]) -> Collection[str]:
        return [name for name, rows in histories.items() if (stops or {}).get(name) == rows[-1]["epoch"]]

    runs = {name: member.run(task, torch.device("cpu")) for name, member in members.items()}
    train_together(task, runs, members, report=report, ended=over.__setitem__, **settings)
    return over


def alone(name: str, folder: Path, stop: int | None = None) -> Trained:
    def report(history: Sequence[Mapping[str, Any]]) -> bool:
        return history[-1]["epoch"] == stop

    return train(task, recipes()[name], folder=folder, report=report, splits=task.load(0))


def metrics(trained: Trained) -> list[float]:
    return [
        value for row in trained.history for name, value in sorted(row.items()) if "/" in name and "system" not in name
    ]


def test_members_end_as_they_do_alone(tmp_path: Path) -> None:
    stops = {"0": 2}
    found = together(tmp_path / "pack", stops)
    assert {name: trained.ending.value for name, trained in found.items()} == {
        "0": "stopped",
        "1": "completed",
        "2": "completed",
        "patient": "completed",
        "wild": "diverged",
    }
    for name, trained in found.items():
        single = alone(name, tmp_path / name, stops.get(name))
        assert (trained.ending, trained.reason, trained.best_epoch) == (single.ending, single.reason, single.best_epoch)
        assert metrics(trained) == pytest.approx(metrics(single), rel=TOLERANCE, nan_ok=True), name
        assert [row["step"] for row in trained.history] == [row["step"] for row in single.history]
        if single.best_epoch is not None:
            mine, its = load_weights(tmp_path / "pack" / name / BEST), load_weights(tmp_path / name / BEST)
            assert mine is not None
            assert its is not None
            assert mine.epoch == its.epoch
            for key, value in its.module.items():
                torch.testing.assert_close(mine.module[key], value, rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True)


def test_others_take_the_places_of_those_that_have_left(tmp_path: Path) -> None:
    """One comes in its middle, with a checkpoint; one had come to its end before; one when all have left."""
    device, splits = torch.device("cpu"), task.load(0)
    changed = {"0": recipes()["0"], "1": recipes()["1"], "2": recipes()["2"], "wild": recipes()["wild"]}
    changed |= {"3": recipe(seed=3, epochs=9, optimizer=SGD(lr=0.1), average=EMA(decay=0.9))}
    changed |= {"4": recipe(seed=4, epochs=2, optimizer=SGD(lr=0.2), average=EMA(decay=0.9))}
    whole = {
        name: train(task, each, folder=tmp_path / "alone" / name, splits=splits, report=lambda _: False)
        for name, each in changed.items()
    }

    def begun(name: str, epochs: int) -> None:
        train(
            task,
            changed[name],
            folder=tmp_path / name,
            splits=splits,
            report=lambda history: len(history) == epochs,
        )

    begun("3", 5)
    begun("4", 9)
    members: dict[str, Member] = {}
    runs: dict[str, Run] = {}
    found: dict[str, Trained] = {}
    together: list[tuple[str, ...]] = []

    def add(*names: str) -> tuple[str, ...]:
        for name in names:
            members[name] = Member(name=name, recipe=changed[name], folder=tmp_path / name, splits=splits)
            runs[name] = members[name].run(task, device)
        return names

    def report(histories: Mapping[str, Sequence[Mapping[str, Any]]]) -> Collection[str]:
        together.append(tuple(histories))
        return ()

    def joined() -> Collection[str]:
        if len(together) == 1:
            return add("3", "4")
        return add("2") if not runs and "2" not in members else ()

    add("0", "1", "wild")
    train_together(task, runs, members, report=report, ended=found.__setitem__, joined=joined)
    epochs = recipes()["0"].epochs
    assert together == [
        ("0", "1", "wild"),
        *[("0", "1", "3")] * (epochs - 1),
        *[("3",)] * (5 - epochs),
        *[("2",)] * epochs,
    ]
    assert not runs
    for name, trained in found.items():
        assert trained.ending == whole[name].ending
        assert metrics(trained) == pytest.approx(metrics(whole[name]), rel=TOLERANCE, nan_ok=True), name
        assert [row["epoch"] for row in trained.history] == [row["epoch"] for row in whole[name].history]
        assert trained.best_epoch == whole[name].best_epoch
    assert found.keys() == changed.keys()


def test_only_those_are_tested_that_are_to_be(tmp_path: Path) -> None:
    splits = task.load(0)
    members = {
        name: Member(name=name, recipe=recipes()[name], folder=tmp_path / name, splits=splits, tested=name == "1")
        for name in "12"
    }
    found: dict[str, Trained] = {}
    runs = {name: member.run(task, torch.device("cpu")) for name, member in members.items()}
    train_together(task, runs, members, report=lambda _: (), ended=found.__setitem__)
    assert metrics(found["1"]) == pytest.approx(metrics(alone("1", tmp_path / "alone")), rel=TOLERANCE)
    assert any("test/loss" in row for row in found["1"].history)
    assert not any(name.startswith("test/") for row in found["2"].history for name in row)
    assert len(found["2"].history) == recipes()["2"].epochs


def test_best_weights_are_kept_where_they_are_wanted(tmp_path: Path) -> None:
    splits = task.load(0)
    members = {
        name: Member(name=name, recipe=recipes()[name], folder=tmp_path / name, splits=splits, best=name == "1")
        for name in "12"
    }
    runs = {name: member.run(task, torch.device("cpu")) for name, member in members.items()}
    train_together(task, runs, members, report=lambda _: (), ended=lambda *_: None)
    assert [path.parent.name for path in tmp_path.rglob(BEST)] == ["1"]


def test_costs_are_shared_out_and_seconds_are_nobody_s(tmp_path: Path) -> None:
    rows = together(tmp_path)["2"].history
    assert [row["shared"] for row in rows] == [5, 4, 4, 3]  # one diverges at once, one stops early
    assert all("seconds" not in row and "wall_seconds" not in row for row in rows)
    assert 0 < rows[0]["cpu_seconds"] < rows[-1]["cpu_seconds"]


def test_a_member_s_state_is_one_that_it_goes_on_from_alone(tmp_path: Path) -> None:
    """Written after every epoch here; the pack is broken off, and each member is trained to its end by itself."""

    class BrokenOffError(Exception):
        pass

    ticks = iter(range(10**9))

    def clock() -> float:
        return float(next(ticks) * 10**6)

    splits = task.load(0)
    members = {name: Member(name=name, recipe=recipes()[name], folder=tmp_path / name, splits=splits) for name in "012"}

    def report(histories: Mapping[str, Sequence[Mapping[str, Any]]]) -> Collection[str]:
        if len(histories["0"]) == 3:
            raise BrokenOffError
        return ()

    runs = {name: member.run(task, torch.device("cpu")) for name, member in members.items()}
    with pytest.raises(BrokenOffError):
        train_together(task, runs, members, report=report, ended=lambda *_: None, kept=partial(States, clock=clock))
    assert (tmp_path / "0" / LAST).exists()
    for name in "012":
        went_on, whole = alone(name, tmp_path / name), alone(name, tmp_path / f"whole-{name}")
        assert metrics(went_on) == pytest.approx(metrics(whole), rel=TOLERANCE)


def test_a_killed_pack_goes_on(tmp_path: Path) -> None:
    """``kill -9`` at random moments; what comes out at last is what an undisturbed pack gives."""
    drawn, kills = random.Random(0), 0
    for _ in range(KILLS):
        process = subprocess.Popen([sys.executable, "-m", "tests.trainables.fused.killed", str(tmp_path / "killed")])
        while process.poll() is None and not (tmp_path / "killed" / "begun").exists():
            time.sleep(0.02)
        time.sleep(drawn.uniform(0, 0.5))
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            kills += process.wait() == -signal.SIGKILL
        (tmp_path / "killed" / "begun").unlink(missing_ok=True)
        assert process.wait() in (0, -signal.SIGKILL)
    assert kills >= 2
    for place in ("killed", "undisturbed"):
        subprocess.run([sys.executable, "-m", "tests.trainables.fused.killed", str(tmp_path / place)], check=True)
    mine, its = (json.loads((tmp_path / place / "over.json").read_text()) for place in ("killed", "undisturbed"))
    assert mine.keys() == its.keys() == {"0", "1", "2", "3"}
    for name, history in its.items():
        assert mine[name] == pytest.approx(history, rel=TOLERANCE), name


def test_a_run_that_has_left_holds_on_to_nothing(tmp_path: Path) -> None:
    """Its tensors are rows of the whole pack's: as long as it is held, so are all of them."""
    splits = task.load(0)
    members = {
        name: Member(name=name, recipe=each, folder=tmp_path / name, splits=splits) for name, each in recipes().items()
    }
    runs = {name: member.run(task, torch.device("cpu")) for name, member in members.items()}
    modules = {name: weakref.ref(run.module) for name, run in runs.items()}
    over: list[str] = []

    def report(histories: Mapping[str, Sequence[Mapping[str, Any]]]) -> Collection[str]:
        gc.collect()
        assert runs.keys() == histories.keys()
        assert [name for name in over if modules[name]() is not None] == []
        return ()

    train_together(task, runs, members, report=report, ended=lambda name, _: over.append(name))
    assert set(over) == set(members)
    assert not runs


def test_best_weights_that_cannot_be_written_are_no_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A final that counts as completed has its weights."""

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device", "best.safetensors")

    monkeypatch.setattr("trainables.fused.states.save_weights", full)
    ended: list[str] = []
    splits = task.load(0)
    members = {name: Member(name=name, recipe=recipes()[name], folder=tmp_path / name, splits=splits) for name in "12"}
    runs = {name: member.run(task, torch.device("cpu")) for name, member in members.items()}
    with pytest.raises(OSError, match="No space left"):
        train_together(task, runs, members, report=lambda _: (), ended=lambda name, _: ended.append(name))
    assert ended == []


def test_after_a_write_that_failed_the_next_is_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Member(name="1", recipe=recipes()["1"], folder=tmp_path, splits=task.load(0)).run(task, torch.device("cpu"))
    tried: list[Path] = []

    def full(path: Path, *_: Any, **__: Any) -> None:
        tried.append(path)
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr("trainables.fused.states.save", full)
    ticks = iter(range(10**9))
    states = States(clock=lambda: float(next(ticks) * 10**6))

    def again_and_again() -> None:
        for _ in range(6000):
            states.keep({tmp_path: run})
            time.sleep(0.01)

    with states:
        for number in (1, 2):
            with pytest.raises(OSError, match="No space left"):
                again_and_again()
            assert len(tried) == number


def test_weights_handed_to_a_write_that_failed_are_no_end_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The write was that of the states, and still under way when the member ended."""
    run = Member(name="1", recipe=recipes()["1"], folder=tmp_path, splits=task.load(0)).run(task, torch.device("cpu"))
    tries: list[Path] = []

    def full_once(path: Path, weights: Any) -> None:
        tries.append(path)
        if len(tries) == 1:
            time.sleep(0.2)
            raise OSError(28, "No space left on device", str(path))
        save_weights(path, weights)

    monkeypatch.setattr("trainables.fused.states.save_weights", full_once)
    ticks = iter(range(10**9))
    with States(clock=lambda: float(next(ticks) * 10**6)) as states:
        states.improved(tmp_path, run)
        states.keep({tmp_path: run})
        with pytest.raises(OSError, match="No space left"):
            states.ended([tmp_path])
        states.ended([tmp_path])
    assert (tmp_path / BEST).exists()
    assert len(tries) == 2
