"""What is written, how it is checked, what is kept and what is said when something is wrong."""

from __future__ import annotations

import json
import resource
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from tests.trainables.small import recipe, task
from trainables import EMA, LAMB, SGD, Adam, AdamW, Maximise, Minimise, RMSprop
from trainables.checkpoints import (
    DamagedError,
    Keeper,
    Needed,
    Weights,
    found,
    load,
    load_weights,
    needed,
    save,
    save_weights,
    size,
)
from trainables.checkpoints.__main__ import main
from trainables.checkpoints.copies import Copies
from trainables.checkpoints.writer import Writer
from trainables.fit import fit
from trainables.keep import BEFORE, BEST, LAST, TEMPORARY, Keep, named
from trainables.models import MLP
from trainables.optimizers import Optimizer
from trainables.run import Run
from trainables.train import Trained, train

STATE = {"epoch": 3, "weights": torch.arange(1000.0), "rows": [{"val/loss": 0.5, "remark": "none"}]}
COSTS = ("seconds", "wall_seconds", "cpu_seconds", "peak_bytes", "time")


def never(_: object) -> bool:
    return False


def numbers(trained: Trained) -> list[dict[str, Any]]:
    return [
        {
            name: value
            for name, value in row.items()
            if name not in (*COSTS, "remark") and not name.startswith("system/")
        }
        for row in trained.history
    ]


def flipped(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 0x10
    path.write_bytes(data)


# --- Files


@pytest.mark.parametrize("compress", [False, True])
def test_a_state_is_read_as_it_was_written_also_by_torch_alone(tmp_path: Path, compress: bool) -> None:
    found = save(tmp_path / LAST, STATE, compress=compress)
    for read in (load(tmp_path / LAST), torch.load(tmp_path / LAST, weights_only=True)):
        assert read is not None
        assert torch.equal(read.pop("weights"), STATE["weights"])
        assert read == {"epoch": 3, "rows": STATE["rows"]}
    assert found.stored == (tmp_path / LAST).stat().st_size
    assert found.plain > found.stored if compress else found.plain == found.stored
    assert [path.name for path in tmp_path.iterdir()] == [LAST]


def test_compression_says_what_it_gains(tmp_path: Path) -> None:
    trained = train(task, recipe(epochs=3), folder=tmp_path, report=never, keep=Keep(compress=True))
    assert 0 < trained.written.stored < trained.written.plain
    plain = train(task, recipe(epochs=3), folder=tmp_path / "plain", report=never)
    assert plain.written.stored == plain.written.plain
    assert numbers(plain) == numbers(trained)
    assert load(tmp_path / LAST) is not None


@pytest.mark.parametrize("compress", [False, True])
def test_no_byte_of_a_state_changes_unseen(tmp_path: Path, compress: bool) -> None:
    """A changed byte is refused, or lies where nothing is read: what comes back is never another state."""
    path, refused = tmp_path / LAST, 0
    save(path, STATE, compress=compress)
    whole = path.read_bytes()
    places = range(0, len(whole), 37)
    for at in places:
        flipped(path, at)
        try:
            read = load(path)
        except DamagedError:
            refused += 1
        else:
            assert read is not None
            assert torch.equal(read["weights"], STATE["weights"])
            assert read["rows"] == STATE["rows"]
        path.write_bytes(whole)
    assert refused > 0.7 * len(places)


@pytest.mark.parametrize("left", [0, 10, 2000])
def test_a_torn_file_is_damaged(tmp_path: Path, left: int) -> None:
    save(tmp_path / LAST, STATE)
    (tmp_path / LAST).write_bytes((tmp_path / LAST).read_bytes()[:left])
    with pytest.raises(DamagedError, match=r"last\.pt is damaged"):
        load(tmp_path / LAST)


def test_no_code_is_run_by_reading(tmp_path: Path) -> None:
    torch.save({"format": Path("x")}, tmp_path / LAST)
    with pytest.raises(DamagedError, match="damaged"):
        load(tmp_path / LAST)


def test_a_failed_write_leaves_what_was_there_and_nothing_else(tmp_path: Path) -> None:
    save(tmp_path / LAST, {"epoch": 1})
    with pytest.raises((AttributeError, TypeError, RuntimeError)):
        save(tmp_path / LAST, {"epoch": lambda: 2}, before=tmp_path / BEFORE)
    assert load(tmp_path / LAST) == {"epoch": 1}
    assert [path.name for path in tmp_path.iterdir()] == [LAST]


# --- Weights


class Tied(nn.Module):
    """A weight in two places, types of all sizes, and something that is no tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)
        self.second.weight = self.first.weight
        self.register_buffer("count", torch.tensor(7))
        self.register_buffer("flags", torch.tensor([True, False, True]))
        self.register_buffer("short", torch.randn(3, 2).bfloat16().T)
        self.register_buffer("none", torch.empty(0, 3))
        self.said: object = {"words": ["a", 1]}

    def get_extra_state(self) -> object:
        return self.said

    def set_extra_state(self, state: object) -> None:
        self.said = state


def test_weights_are_read_as_they_were_written_also_by_safetensors_alone(tmp_path: Path) -> None:
    module = Tied()
    save_weights(tmp_path / BEST, Weights(epoch=7, module=module.state_dict()))
    read = load_weights(str(tmp_path / BEST))
    assert read is not None
    assert read.epoch == 7
    other = Tied()
    other.said = None
    other.load_state_dict(read.module)
    assert other.said == module.said
    alone = load_file(tmp_path / BEST)
    for name, value in module.state_dict().items():
        if isinstance(value, Tensor):
            assert torch.equal(other.state_dict()[name], value)
            assert torch.equal(alone[name], value)
            assert alone[name].dtype == value.dtype
    before = (tmp_path / BEST).read_bytes()
    for _ in range(5):
        save_weights(tmp_path / BEST, Weights(epoch=7, module=module.state_dict()))
        assert (tmp_path / BEST).read_bytes() == before


def test_damaged_weights_are_refused(tmp_path: Path) -> None:
    path = tmp_path / BEST
    save_weights(path, Weights(epoch=7, module={"a": torch.arange(50.0), "b": torch.arange(9)}))
    whole = path.read_bytes()
    for at in range(0, len(whole), 5):
        flipped(path, at)
        with pytest.raises(ValueError, match=r"best\.safetensors"):
            load_weights(path)
        path.write_bytes(whole)
    path.write_bytes(whole[:-1])
    with pytest.raises(DamagedError, match="is damaged"):
        load_weights(path)
    assert load_weights(tmp_path / "none.safetensors") is None


def test_weights_of_others_and_what_has_no_place_are_told_in_words(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match="was not written here"):
        load_weights(tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match="keep it out of the module's state_dict"):
        save_weights(tmp_path / BEST, Weights(epoch=1, module={"a": torch.zeros(2, dtype=torch.complex128)}))
    with pytest.raises(ValueError, match="keep it out of the module's state_dict"):
        save_weights(tmp_path / BEST, Weights(epoch=1, module={"a": torch.zeros(2), "_extra_state": Path("x")}))
    assert not (tmp_path / BEST).exists()


# --- What is gone on from


def at_the_third(tmp_path: Path, **settings: Any) -> Trained:
    """An undisturbed run of six epochs in ``whole``, and one that leaves off after three in ``run``."""
    whole = train(task, recipe(epochs=6, **settings), folder=tmp_path / "whole", report=never)
    train(task, recipe(epochs=6, **settings), folder=tmp_path / "run", report=lambda history: len(history) == 3)
    return whole


@pytest.mark.parametrize("damage", ["a byte", "half of it", "all of it"])
def test_a_damaged_last_state_costs_an_epoch_and_is_said(tmp_path: Path, damage: str) -> None:
    whole, run = at_the_third(tmp_path, average=EMA(decay=0.9)), tmp_path / "run"
    match damage:
        case "a byte":
            flipped(run / LAST, (run / LAST).read_bytes().index(b"accuracy"))
        case "half of it":
            (run / LAST).write_bytes((run / LAST).read_bytes()[:3000])
        case _:
            (run / LAST).write_bytes(b"")
    reported: list[int] = []
    again = train(task, recipe(epochs=6, average=EMA(decay=0.9)), folder=run, report=lambda h: reported.append(len(h)))  # type: ignore[func-returns-value]
    assert reported == [3, 4, 5, 6]
    assert numbers(again) == numbers(whole)
    said = [row.get("remark") for row in again.history]
    assert said == [None, None, "last.pt was damaged; went on from the state before it, of 2 epochs", None, None, None]
    assert (run / BEST).read_bytes() == (tmp_path / "whole" / BEST).read_bytes()


def test_a_damaged_state_does_not_take_the_place_of_the_good_one(tmp_path: Path) -> None:
    at_the_third(tmp_path)
    run = tmp_path / "run"
    (run / LAST).write_bytes(b"")
    train(task, recipe(epochs=6), folder=run, report=lambda history: len(history) == 3)
    before, last = load(run / BEFORE), load(run / LAST)
    assert before is not None
    assert last is not None
    assert (before["epoch"], last["epoch"]) == (2, 3)


def test_a_state_moved_aside_and_not_yet_replaced_is_gone_on_from(tmp_path: Path) -> None:
    """As a kill between the two leaves it, with what was being written beside it."""
    whole, run = at_the_third(tmp_path), tmp_path / "run"
    (run / LAST).replace(run / BEFORE)
    (run / f"{LAST}.1234{TEMPORARY}").write_bytes(b"half")
    again = train(task, recipe(epochs=6), folder=run, report=never)
    assert again == replace(whole, history=again.history)
    assert numbers(again) == numbers(whole)
    assert not any("remark" in row for row in again.history)
    assert sorted(path.name for path in run.iterdir()) == [BEFORE, BEST, LAST]


def test_the_only_state_damaged_is_begun_anew_and_both_are_an_error(tmp_path: Path) -> None:
    train(task, recipe(), folder=tmp_path, report=lambda history: len(history) == 1)
    assert not (tmp_path / BEFORE).exists()
    (tmp_path / LAST).write_bytes(b"")
    anew = train(task, recipe(), folder=tmp_path, report=never)
    assert anew.history[0]["remark"] == "last.pt was damaged and the only state; the run began anew"
    assert len(anew.history) == 4
    for name in (LAST, BEFORE):
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(
        ValueError, match=r"last\.pt is damaged .*, and so is before\.pt beside it; look after the disk"
    ):
        train(task, recipe(), folder=tmp_path, report=never)


def test_the_only_state_that_is_left_damaged_is_an_error(tmp_path: Path) -> None:
    at_the_third(tmp_path)
    (tmp_path / "run" / LAST).unlink()
    (tmp_path / "run" / BEFORE).write_bytes(b"")
    with pytest.raises(
        ValueError, match=r"before\.pt is damaged .*, and there is no last\.pt beside it; look after the disk"
    ):
        found(tmp_path / "run")


@pytest.mark.parametrize(
    "fault",
    [OSError(24, "Too many open files"), MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory")],
    ids=str,
)
def test_a_state_that_cannot_be_read_for_now_is_not_taken_for_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    """It would be gone round, and the next state put in its place."""
    at_the_third(tmp_path)
    save_weights(tmp_path / BEST, Weights(epoch=1, module={"a": torch.zeros(1)}))

    def failing(*_: object, **__: object) -> None:
        raise fault

    monkeypatch.setattr(torch, "load", failing)
    with pytest.raises(type(fault)) as raised:
        train(task, recipe(epochs=6), folder=tmp_path / "run", report=never)
    assert raised.value is fault
    monkeypatch.setattr(json, "loads", failing)
    with pytest.raises(type(fault)):
        load_weights(tmp_path / BEST)


def test_a_state_of_another_format_is_told_in_words(tmp_path: Path) -> None:
    train(task, recipe(epochs=2), folder=tmp_path, report=never)
    for name in (LAST, BEFORE):
        state = load(tmp_path / name)
        assert state is not None
        save(tmp_path / name, {**state, "format": 3})
    with pytest.raises(
        ValueError, match=r"the checkpoint has format 3, this version reads 4; delete it and train anew"
    ):
        train(task, recipe(epochs=4), folder=tmp_path, report=never)


def test_the_remark_of_a_state_in_mid_epoch_is_not_lost_with_its_process(tmp_path: Path) -> None:
    train(task, recipe(epochs=4), folder=tmp_path, report=lambda history: len(history) == 2)
    (tmp_path / LAST).write_bytes(b"")

    def broken(epochs: Iterator[Any]) -> Iterator[Any]:
        for _ in epochs:
            raise KeyboardInterrupt
        yield

    with pytest.raises(KeyboardInterrupt):
        train(
            task, recipe(epochs=4, hooks=(broken,)), folder=tmp_path, report=never, keep=Keep(steps=3)
        )  # which ends the epoch, but not before its states in the middle are kept
    assert found(tmp_path).remark is not None
    again = train(task, recipe(epochs=4), folder=tmp_path, report=never)
    assert [("remark" in row) for row in again.history] == [False, True, False, False]


def counting(epochs: Iterator[Any]) -> Iterator[Any]:
    """Numbers as libraries give them."""
    for epoch in epochs:
        row = epoch.run.history[-1]
        row |= {"own/a": np.float64(0.5), "own/b": np.float32(0.25), "own/c": np.int64(3), "own/d": torch.tensor(1.5)}
        yield epoch


def test_numbers_that_a_hook_puts_into_the_history_are_gone_on_from(tmp_path: Path) -> None:
    settings = recipe(epochs=4, hooks=(counting,))
    train(task, settings, folder=tmp_path, report=lambda history: len(history) == 2)
    again = train(task, settings, folder=tmp_path, report=never)
    assert not any("remark" in row for row in again.history)
    for row in again.history:
        own = [value for name, value in row.items() if name.startswith("own/")]
        assert own == [0.5, 0.25, 3, 1.5]
        assert [type(value) for value in own] == [float, float, int, float]

    def odd(epochs: Iterator[Any]) -> Iterator[Any]:
        for epoch in epochs:
            epoch.run.history[-1]["own/path"] = Path("x")
            yield epoch

    with pytest.raises(ValueError, match=r"history.s own/path is a PosixPath, which no checkpoint holds; put a number"):
        train(task, recipe(hooks=(odd,)), folder=tmp_path / "odd", report=never)


# --- The thread that writes


def test_a_writer_works_beside_and_takes_one_job_at_a_time() -> None:
    go, done, waiting = threading.Event(), list[str](), threading.Event()

    def first() -> None:
        assert go.wait(30)
        done.append(threading.current_thread().name)

    with Writer() as writer:
        writer.submit(first)
        assert not done  # handed in, and this thread goes on

        def second() -> None:
            waiting.set()
            writer.submit(lambda: done.append("second"))

        other = threading.Thread(target=second)
        other.start()
        assert waiting.wait(30)
        other.join(0.05)
        assert other.is_alive()
        assert not done
        go.set()
        other.join(30)
    assert done[0].startswith("checkpoints")
    assert done[1:] == ["second"]


def failing() -> None:
    raise OSError(28, "No space left on device")


def test_what_a_job_raises_is_raised_at_the_next_or_at_the_end() -> None:
    with Writer() as writer:
        writer.submit(failing)
        with pytest.raises(OSError, match="No space"):
            writer.submit(lambda: None)
        writer.submit(lambda: None)
    with pytest.raises(OSError, match="No space"), Writer() as writer:
        writer.submit(failing)


def test_what_went_wrong_first_is_what_is_told() -> None:
    def work() -> None:
        with Writer() as writer:
            writer.submit(failing)
            raise KeyError("first")

    with pytest.raises(KeyError, match="first"):
        work()


def test_copies_are_apart_from_what_they_were_taken_of_and_use_the_same_memory_again() -> None:
    weight, copies = torch.arange(6.0).view(2, 3), Copies()
    state = {"a": weight, "again": weight.detach(), "rows": [{"x": 1, "count": torch.tensor(3)}], "turned": weight.T}
    taken = copies.take(state)
    copies.wait()
    assert taken["a"] is taken["again"]
    place = taken["a"].data_ptr()
    assert place != weight.data_ptr()
    weight.add_(1)
    state["rows"][0]["x"] = 2  # type: ignore[index]
    assert torch.equal(taken["a"], torch.arange(6.0).view(2, 3))
    assert taken["rows"][0]["x"] == 1
    assert torch.equal(taken["turned"], torch.arange(6.0).view(2, 3).T)
    again = copies.take(state)
    assert again["a"].data_ptr() == place
    assert torch.equal(again["a"], weight)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_copies_from_a_gpu_hold_what_was_there_when_they_were_taken() -> None:
    weight, copies = torch.ones(1 << 24, device="cuda"), Copies()
    for number in range(1, 4):
        taken = copies.take({"a": weight})
        weight.add_(1)
        copies.wait()
        assert taken["a"].is_pinned()
        assert torch.equal(taken["a"], torch.full((1 << 24,), float(number)))


@contextmanager
def files_up_to(count: int) -> Iterator[None]:
    """No file of this process grows beyond so many bytes, as on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (count, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("compress", [False, True])
def test_a_full_disk_is_told_at_the_next_epoch_and_the_run_goes_on_when_there_is_room(
    tmp_path: Path, compress: bool
) -> None:
    whole, run = at_the_third(tmp_path), tmp_path / "run"
    told: list[int] = []
    with files_up_to(3000), pytest.raises(OSError, match=r"cannot be written .* make room there") as raised:
        train(
            task,
            recipe(epochs=6),
            folder=run,
            report=lambda h: told.append(len(h)),  # type: ignore[func-returns-value]
            keep=Keep(compress=compress),
        )
    assert str(run / LAST) in str(raised.value)
    assert told == [4]
    assert not [path for path in run.iterdir() if path.name.endswith(TEMPORARY)]
    last = load(run / LAST)
    assert last is not None
    assert last["epoch"] == 3
    assert numbers(train(task, recipe(epochs=6), folder=run, report=never)) == numbers(whole)


def test_what_cannot_be_written_at_the_run_s_end_is_told_too(tmp_path: Path) -> None:
    with files_up_to(3000), pytest.raises(OSError, match="cannot be written"):
        train(task, recipe(epochs=1), folder=tmp_path, report=never)


def test_what_ends_a_run_is_not_hidden_by_a_write_that_failed(tmp_path: Path) -> None:
    def leaving(_: object) -> bool:
        shutil.rmtree(tmp_path / "run", ignore_errors=True)  # under the thread that writes, which may be anywhere
        raise SystemExit

    with pytest.raises(SystemExit):
        train(task, recipe(epochs=2), folder=tmp_path / "run", report=leaving)


def test_a_folder_that_was_removed_does_not_come_back(tmp_path: Path) -> None:
    with Keeper(tmp_path / "run", Keep(), found(tmp_path / "run")) as keeper:
        epochs = keeper.kept(fit(task, recipe(epochs=3)))
        next(epochs)
        next(epochs)  # the first is on disk
        next(epochs)
        assert (tmp_path / "run" / LAST).exists()
    shutil.rmtree(tmp_path / "run")
    with pytest.raises(OSError, match="cannot be written"):
        save_weights(tmp_path / "run" / BEST, Weights(epoch=1, module={"a": torch.zeros(1)}))
    assert not (tmp_path / "run").exists()


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"run cannot be written \(Not a directory\)"):
        train(task, recipe(epochs=2), folder=tmp_path / "file" / "run", report=never)


# --- What is kept


def test_the_best_epochs_and_every_so_many_are_kept_and_no_others(tmp_path: Path) -> None:
    settings, goal = recipe(epochs=8, average=EMA(decay=0.9)), task.goal
    names: list[set[str]] = []
    keep = Keep(top=3, every=4)

    def report(_: object) -> bool:
        names.append({path.name for path in tmp_path.glob("epoch-*")})
        return False

    trained = train(task, settings, folder=tmp_path, report=report, keep=keep)
    ranked = sorted(trained.history, key=lambda row: (-row["val/accuracy"], row["epoch"]))
    best = {row["epoch"] for row in ranked[:3]}
    assert {path.name for path in tmp_path.glob("epoch-*")} == {named(epoch) for epoch in best | {4, 8}}
    assert max(map(len, names)) <= 5
    held = {
        epoch.epoch: {name: value.clone() for name, value in epoch.run.deployed.state_dict().items()}
        for epoch in fit(task, settings)
    }
    for epoch in best | {4, 8}:
        weights = load_weights(tmp_path / named(epoch))
        assert weights is not None
        assert weights.epoch == epoch
        assert weights.module.keys() == held[epoch].keys()
        assert all(torch.equal(weights.module[name], value) for name, value in held[epoch].items())
    assert goal == Maximise("accuracy")
    chosen = load_weights(tmp_path / BEST)
    assert chosen is not None
    assert chosen.epoch == trained.best_epoch == ranked[0]["epoch"]
    # Every file of weights was written while its epoch was one of those: more often than there are files now.
    assert trained.written.states == 8


def test_a_policy_follows_the_goal_and_leaves_out_what_is_not_a_number() -> None:
    history = [
        {"epoch": number, "val/loss": value} for number, value in enumerate((0.3, 0.1, float("nan"), 0.1, 0.2), 1)
    ]
    assert Keep(top=2).wanted(history, Minimise("loss")) == {2, 4}
    assert Keep(top=2).wanted(history, Maximise("loss")) == {1, 5}
    assert Keep(top=3).wanted(history[:1], Minimise("loss")) == {1}
    assert Keep(every=2).wanted(history, Minimise("loss")) == {2, 4}
    assert Keep().wanted(history, Minimise("loss")) == set()


def test_wrong_settings_are_named() -> None:
    said = [*Keep(top=0, every=0, steps=True, compress=2).conflicts()]  # type: ignore[arg-type]
    assert len(said) == 4
    assert "Keep top 0 must be a whole number from 1" in said[0]
    assert "Keep steps True" in said[2]
    assert not [*Keep(top=3, every=10, steps=100, compress=True).conflicts()]


def test_what_is_kept_changes_nothing_of_what_is_learned(tmp_path: Path) -> None:
    settings = recipe(model=MLP(widths=(8,), dropout=0.2), epochs=3)
    plain = train(task, settings, folder=tmp_path / "plain", report=never)
    much = train(
        task, settings, folder=tmp_path / "much", report=never, keep=Keep(top=2, every=1, steps=1, compress=True)
    )
    assert numbers(much) == numbers(plain)


# --- Room


@dataclass(frozen=True, kw_only=True, slots=True)
class Own:
    """An optimizer of one's own that wants to know its parameters."""

    lr: float = 0.1

    def build(self, parameters: Sequence[nn.Parameter]) -> torch.optim.Optimizer:
        if len(parameters) < 2:
            raise ValueError("too few")
        return torch.optim.Adam(parameters, lr=self.lr)

    def conflicts(self) -> Iterator[str]:
        yield from ()


OPTIMIZERS: Sequence[Optimizer] = (
    SGD(lr=0.01, momentum=0.0),
    SGD(lr=0.01, momentum=0.9),
    Adam(lr=0.01),
    AdamW(lr=0.01, weight_decay=0.1),
    LAMB(lr=0.01),
    RMSprop(lr=0.01),
    Own(),
)


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=str)
@pytest.mark.parametrize("average", [None, EMA()], ids=str)
def test_the_room_that_is_needed_is_known_before(tmp_path: Path, optimizer: Optimizer, average: EMA | None) -> None:
    settings = recipe(model=MLP(widths=(200, 200)), optimizer=optimizer, average=average, epochs=2)
    run = Run.start(task, settings, splits=None, device=torch.device("cpu"))
    asked = needed(run, Keep(every=1))
    train(task, settings, folder=tmp_path, report=never, keep=Keep(every=1))
    assert asked.state == pytest.approx((tmp_path / LAST).stat().st_size, rel=0.02)
    assert asked.weights == pytest.approx((tmp_path / BEST).stat().st_size, rel=0.02)
    assert asked.files == len([*tmp_path.glob("*.safetensors")]) == 3
    there = sum(path.stat().st_size for path in tmp_path.iterdir())
    assert asked.most == pytest.approx(there + asked.state, rel=0.02)


class Usage(NamedTuple):
    total: int
    used: int
    free: int


def test_too_little_room_is_told_before_the_first_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Needed(state=10, weights=5, files=1).check(tmp_path / "not" / "there")
    with pytest.raises(
        OSError, match=r"need about 30000000\.0 TB more \(three states of 10000000\.0 TB, 2 × .* are free; make"
    ):
        Needed(state=10**19, weights=5, files=2).check(tmp_path)
    steps: list[int] = []

    def counted(epochs: Iterator[Any]) -> Iterator[Any]:
        for epoch in epochs:
            steps.append(epoch.step)
            yield epoch

    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**9, 10**9 - 1000, 1000))
    with pytest.raises(OSError, match="make room, let the runs lie elsewhere"):
        train(task, recipe(hooks=(counted,)), folder=tmp_path, report=never)
    assert not steps


def test_sizes_are_written_for_people() -> None:
    assert [size(count) for count in (0, 999, 1000, 25_300, 999_900, 12_345_678, 3 * 10**12)] == [
        "0 B",
        "999 B",
        "1.0 kB",
        "25.3 kB",
        "1000 kB",
        "12.3 MB",
        "3.0 TB",
    ]


# --- The command


def test_the_command_says_what_is_kept_and_what_is_damaged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train(task, recipe(), folder=tmp_path, report=never, keep=Keep(every=2))
    assert main([str(tmp_path)]) == 0
    said = capsys.readouterr().out
    rows = {Path(line.split()[0]).name: line.split() for line in said.splitlines()[1:]}
    assert set(rows) == {BEFORE, BEST, LAST, named(2), named(4)}
    assert rows[LAST][1:3] == ["4", "16"]
    assert rows[named(2)][1] == "2"
    # Weights are never compressed.
    assert {name for name, row in rows.items() if "%" in " ".join(row)} == {LAST, BEFORE}
    flipped(tmp_path / LAST, (tmp_path / LAST).read_bytes().index(b"accuracy"))
    torch.save({"a": 1}, tmp_path / "other.pt")
    assert main([str(tmp_path)]) == 1
    said = capsys.readouterr().out
    assert "last.pt is damaged" in said
    assert "is no state of a run" in said


def test_the_command_says_of_a_state_what_compressing_it_gains_or_has_gained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = {**STATE, "step": 1}
    save(tmp_path / "plain.pt", state)
    save(tmp_path / "deflated.pt", state, compress=True)
    assert main([str(tmp_path)]) == 0
    deflated, plain = (line.split() for line in capsys.readouterr().out.splitlines()[1:])
    assert (deflated[5], deflated[6], plain[6]) == ("is,", "to", "in")
    assert deflated[7] == plain[5]


def test_the_command_says_what_there_is_not(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("")
    for name, expected in (
        ("none.pt", "there is no "),
        ("empty", "holds no checkpoint; name a folder that holds last.pt or best.safetensors"),
        ("notes.txt", "ends in neither .pt nor .safetensors"),
    ):
        assert main([str(tmp_path / name)]) == 2
        (said,) = capsys.readouterr().err.splitlines()
        assert expected in said
        assert str(tmp_path / name) in said
    with pytest.raises(SystemExit) as ended:
        main([])
    assert ended.value.code == 2
    assert "--help lists the options" in capsys.readouterr().err


def test_settings_are_importable_without_torch() -> None:
    code = "import sys, trainables.keep; sys.exit('torch' in sys.modules or 'safetensors' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
