"""Programme, race and ledger on the local lane: what is dealt, in which order, and what a resume does."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from analysis.judge import judge
from analysis.ledger import read_ledger, read_live, read_question
from analysis.records import Stage, Status, TrialRecord
from sweeps import ASHA, TPE, QuestionError, Random, Resources, Sweep, choice, each, int_range, log_uniform, uniform
from sweeps.engine import ledger as ledgers
from sweeps.engine import question, space
from sweeps.engine.drive import drive, finished, spent
from sweeps.engine.job import Job, identity, key
from sweeps.engine.machine import Machine
from sweeps.engine.programme import Programme
from sweeps.engine.race import Follower, Race
from sweeps.engine.rehearsal import rehearse
from sweeps.engine.spec import WORKERS
from sweeps.engine.stopping import Levels
from sweeps.engine.study import LevelStudy
from sweeps.engine.trial import failure
from sweeps.remarks import failures
from tests.sweeps.small import small, task
from trainables import (
    EMA,
    SGD,
    TF32,
    AdamW,
    ConflictError,
    EarlyStopping,
    KFold,
    Maximise,
    Minimise,
    PerWorker,
    Recipe,
    Seeds,
    WholeSet,
)
from trainables.models import MLP
from trainables.tasks.table import Table


class Diary:
    """A follower that writes down what it is told; raises KeyboardInterrupt after so many epochs."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.begun: list[TrialRecord] = []
        self.rows: list[tuple[str, int]] = []
        self.done: list[TrialRecord] = []
        self.stop_after = stop_after

    def started(self, record: TrialRecord) -> None:
        self.begun.append(record)

    def reported(self, record_id: str, row: Mapping[str, Any]) -> None:
        self.rows.append((record_id, row["epoch"]))
        if self.stop_after is not None and len(self.rows) >= self.stop_after:
            raise KeyboardInterrupt

    def ended(self, record: TrialRecord) -> None:
        self.done.append(record)


def run(sweep: Sweep, folder: Path, diary: Diary | None = None) -> list[TrialRecord]:
    folder.mkdir(exist_ok=True)
    followers = [diary] if diary is not None else []
    return drive(sweep, folder, lane="local", concurrency=1, machine=Machine.here(None), followers=followers)


def essence(record: TrialRecord) -> tuple[Any, ...]:
    """What must not depend on how often a sweep was interrupted."""
    rows = [(row["epoch"], row["train/loss"], row["val/accuracy"]) for row in record.history]
    return (
        record.id,
        record.stage,
        key(record.level),
        record.seed,
        record.status,
        record.best_epoch,
        dict(record.metrics),
        rows,
    )


def test_a_sweep_deals_heats_evenly_then_paired_finals(tmp_path: Path) -> None:
    sweep, diary = small(), Diary()
    records = run(sweep, tmp_path, diary)
    heats = [record for record in records if record.stage is Stage.HEAT]
    finals = [record for record in records if record.stage is Stage.FINAL]
    assert Counter(record.level["batch_size"] for record in heats) == {8: 5, 32: 5}
    assert [record.level["batch_size"] for record in heats] == [8, 32] * 5
    assert [(record.seed, record.level["batch_size"]) for record in finals] == [
        (s, b) for s in range(1, 7) for b in ((8, 32) if s % 2 else (32, 8))
    ]
    assert {record.status for record in heats} == {Status.COMPLETED, Status.STOPPED}
    assert {record.status for record in finals} == {Status.COMPLETED}
    assert all(record.epochs == 9 for record in finals)
    assert [record.number for record in records] == list(range(22))
    assert [record.id for record in diary.done] == [record.id for record in diary.begun]


def test_a_search_never_looks_at_the_test_set(tmp_path: Path) -> None:
    sweep = replace(small(), recipe=replace(small().recipe, epochs=3), search=Random(trials=2), early_stop=None)
    for record in run(sweep, tmp_path):
        told = {name for row in [record.metrics, *record.history] for name in row}
        assert any(name.startswith("test/") for name in told) == (record.stage is Stage.FINAL)
        assert {"val/loss", "val/accuracy"} <= told


def test_the_point_of_the_finals_is_the_best_completed_heat_s(tmp_path: Path) -> None:
    records = run(small(), tmp_path)
    for size in (8, 32):
        heats = [
            r
            for r in records
            if r.stage is Stage.HEAT and r.level["batch_size"] == size and r.status is Status.COMPLETED
        ]
        best = max(heats, key=lambda record: (record.metrics["val/accuracy"], -(record.number or 0)))
        points = {
            json.dumps(dict(r.point)) for r in records if r.stage is Stage.FINAL and r.level["batch_size"] == size
        }
        assert points == {json.dumps(dict(best.point))}


def test_a_record_says_all_that_the_contract_names(tmp_path: Path) -> None:
    run(small(seeds=1), tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "trials.jsonl").read_text().splitlines()]
    assert [line["status"] for line in lines[:2]] == ["running", "completed"]
    line = lines[-1]
    names = "id sweep task stage level point seed status reason epochs samples steps metrics best_epoch history cost lane hardware"
    assert set(names.split()) | {"versions", "source", "error"} <= line.keys()
    assert set(line["cost"]) == {"seconds", "cpu_seconds", "gpu_seconds", "joules", "peak_bytes"}
    assert line["cost"]["gpu_seconds"] is None
    assert line["cost"]["seconds"] > 0
    assert {"val/accuracy", "test/accuracy", "val/loss", "test/loss", "train/loss"} <= line["metrics"].keys()
    row = line["history"][line["best_epoch"] - 1]
    assert row["test/accuracy"] == line["metrics"]["test/accuracy"]
    assert {"epoch", "step", "seconds", "lr", "train/loss", "val/loss"} <= row.keys()


def test_finals_seeds_draw_what_vary_names() -> None:
    sweep = small(vary=("init",))
    assert sweep.final_seeds(3) == Seeds(init=3, order=0, split=0)
    assert small(seed=100).final_seeds(3) == Seeds(init=103, order=103, split=103)
    assert small().heat_seeds() == Seeds()


def test_a_sweep_that_was_run_is_not_run_again(tmp_path: Path) -> None:
    sweep = small()
    first = run(sweep, tmp_path)
    assert finished(sweep, first)
    before = (tmp_path / "trials.jsonl").read_bytes()
    diary = Diary()
    assert run(sweep, tmp_path, diary) == first
    assert diary.begun == []
    assert (tmp_path / "trials.jsonl").read_bytes() == before


def test_more_seeds_and_trials_extend_a_sweep(tmp_path: Path) -> None:
    run(small(seeds=2), tmp_path)
    diary = Diary()
    run(small(seeds=4), tmp_path, diary)
    assert [(r.stage, r.seed) for r in diary.begun] == [
        (Stage.FINAL, 3),
        (Stage.FINAL, 3),
        (Stage.FINAL, 4),
        (Stage.FINAL, 4),
    ]
    more = Diary()
    run(small(seeds=4, search=TPE(trials=7)), tmp_path, more)
    assert Counter(r.stage for r in more.begun)[Stage.HEAT] == 4
    finals = {(key(r.point), r.seed) for r in read_ledger(tmp_path) if r.stage is Stage.FINAL}
    points = {point for point, _ in finals}
    assert len(finals) == 4 * len(points)


def test_a_final_under_way_whose_point_lost_its_place_is_closed(tmp_path: Path) -> None:
    run(small(seeds=1, search=Random(trials=1)), tmp_path)
    with pytest.raises(KeyboardInterrupt):
        run(small(seeds=2, search=Random(trials=1)), tmp_path, Diary(12))
    (under_way,) = [record for record in read_ledger(tmp_path) if not record.status.settled]
    assert under_way.stage is Stage.FINAL
    records = run(small(seeds=2, search=Random(trials=12)), tmp_path)
    assert all(record.status.settled for record in records)
    closed = next(record for record in records if record.id == under_way.id)
    points = {json.dumps(dict(r.point)) for r in records if r.stage is Stage.FINAL and r.level == closed.level}
    assert (closed.reason == "no longer asked for") == (len(points) == 2)
    assert len(points) == 2


@pytest.mark.parametrize("stop_after", [1, 7, 20, 31, 60, 90])
def test_an_interrupted_sweep_ends_as_the_undisturbed_one(tmp_path: Path, stop_after: int) -> None:
    """Without a search, since which points are drawn hangs on how often the study was made anew."""
    sweep = small(early_stop=None, search=None, recipe=replace(small().recipe, optimizer=SGD(lr=0.3)), seeds=6)
    whole = run(sweep, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(sweep, tmp_path / "parts", Diary(stop_after))
    half = read_ledger(tmp_path / "parts")
    assert half[-1].status is Status.RUNNING
    diary = Diary()
    resumed = run(sweep, tmp_path / "parts", diary)
    assert [essence(r) for r in sorted(resumed, key=lambda r: r.id)] == [
        essence(r) for r in sorted(whole, key=lambda r: r.id)
    ]
    ended = {record.id for record in half if record.status.settled}
    assert not ended & {record.id for record in diary.begun}


@pytest.mark.parametrize("stop_after", [4, 15, 25, 40, 70])
def test_the_total_is_exact_with_a_search_and_early_stopping_too(tmp_path: Path, stop_after: int) -> None:
    sweep = small()
    with pytest.raises(KeyboardInterrupt):
        run(sweep, tmp_path, Diary(stop_after))
    half = {record.id: record for record in read_ledger(tmp_path)}
    with pytest.raises(KeyboardInterrupt):
        run(sweep, tmp_path, Diary(12))
    records = run(sweep, tmp_path)
    assert Counter((r.stage, r.level["batch_size"]) for r in records) == {
        (Stage.HEAT, 8): 5, (Stage.HEAT, 32): 5, (Stage.FINAL, 8): 6, (Stage.FINAL, 32): 6,
    }  # fmt: skip
    assert all(record.status.settled for record in records)
    for record in records:
        assert [row["epoch"] for row in record.history] == list(range(1, record.epochs + 1))
        if record.id in half and half[record.id].status.settled:
            assert record == half[record.id]


def test_a_trial_under_way_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    sweep = small(search=None, early_stop=None, recipe=replace(small().recipe, optimizer=SGD(lr=0.3)))
    with pytest.raises(KeyboardInterrupt):
        run(sweep, tmp_path, Diary(5))
    (under_way,) = read_ledger(tmp_path)
    told = read_live(tmp_path)[under_way.id]
    records = run(sweep, tmp_path)
    assert [row["time"] for row in records[0].history[:5]] == [row["time"] for row in told]


class Explosive:
    """A model whose weights are not numbers."""

    def build(self) -> nn.Module:
        module = nn.Linear(2, 3)
        nn.init.constant_(module.weight, math.nan)
        return module


def test_a_level_that_diverges_costs_only_itself(tmp_path: Path) -> None:
    base = small(search=None, early_stop=None, seeds=2)
    sweep = replace(
        base,
        recipe=replace(base.recipe, batch_size=16, optimizer=SGD(lr=0.1), model=each(MLP(widths=(8,)), Explosive())),
    )
    records = run(sweep, tmp_path)
    by_level = {(r.level["model"], r.status) for r in records}
    assert len(records) == 4
    assert {status for _, status in by_level} == {Status.COMPLETED, Status.DIVERGED}
    lost = next(r for r in records if r.status is Status.DIVERGED)
    assert lost.reason == "train/loss is nan at epoch 1"
    assert finished(sweep, records)


class Flaky:
    """A model that fails as often as a file says."""

    def __init__(self, path: Path, times: int, error: type[Exception] = RuntimeError) -> None:
        self.path, self.times, self.error = path, times, error

    def build(self) -> nn.Module:
        count = len(self.path.read_text()) if self.path.exists() else 0
        if count < self.times:
            self.path.write_text("x" * (count + 1))
            raise self.error(f"failure {count + 1}\nwith a second line")
        return nn.Linear(2, 3)


def flaky(tmp_path: Path, times: int, error: type[Exception] = RuntimeError) -> Sweep:
    base = small(search=None, early_stop=None, seeds=1)
    model = Flaky(tmp_path / "count", times, error)
    return replace(base, recipe=replace(base.recipe, batch_size=16, optimizer=SGD(lr=0.1), model=model))


def test_an_exception_once_is_healed_and_said(tmp_path: Path) -> None:
    (record,) = run(flaky(tmp_path, 1), tmp_path / "run")
    assert record.status is Status.COMPLETED
    assert record.reason == "went on after an exception"


def test_an_exception_always_is_one_failure_with_its_reason_and_is_tried_at_the_next_command(tmp_path: Path) -> None:
    (record,) = run(flaky(tmp_path, 2), tmp_path / "run")
    assert record.status is Status.FAILED
    assert re.fullmatch(r"RuntimeError: failure 2 \(test_engine\.py:\d+\) \(in 2 attempts\)", record.reason or "")
    assert record.error is not None
    assert "with a second line" in record.error
    assert not finished(flaky(tmp_path, 2), [record])
    (again,) = run(flaky(tmp_path, 2), tmp_path / "run")
    assert again.status is Status.COMPLETED


class Crooked(nn.Module):
    """A model of one's own whose layers do not fit each other, once it has been called ``spared`` times in training."""

    def __init__(self, spared: int) -> None:
        super().__init__()
        self.spared = spared
        self.a, self.b, self.c = nn.Linear(2, 32), nn.Linear(33, 32), nn.Linear(32, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.spared -= self.training
        x = self.a(x)
        if self.spared < 0:
            x = self.b(x)  # the line that is to be named
        return self.c(x)  # type: ignore[no-any-return]


@dataclass(frozen=True, kw_only=True, slots=True)
class OfOnesOwn:
    spared: int

    def build(self) -> nn.Module:
        return Crooked(self.spared)


def crooked(spared: int) -> Sweep:
    base = small(early_stop=None, search=Random(trials=2))
    recipe = replace(base.recipe, batch_size=16, model=OfOnesOwn(spared=spared))
    return replace(base, recipe=recipe)


def line_of(text: str) -> int:
    return 1 + next(number for number, line in enumerate(Path(__file__).read_text().splitlines()) if text in line)


def test_a_failure_within_torch_names_the_line_of_the_user_s_own_that_led_there(tmp_path: Path) -> None:
    line = line_of("# the line that is to be named")
    with pytest.raises(QuestionError) as refused:
        rehearse(crooked(0))
    said = str(refused.value)
    assert "raises RuntimeError: mat1 and mat2 shapes cannot be multiplied (4x32 and 33x32)\n" in said
    assert f"\n  at test_engine.py:{line} in forward: x = self.b(x)" in said
    assert f'File "{__file__}", line {line}, in forward' in said
    assert 'linear.py"' in said
    records = run(crooked(4), tmp_path)
    reason = f"RuntimeError: mat1 and mat2 shapes cannot be multiplied (16x32 and 33x32) (test_engine.py:{line}) (in 2 attempts)"
    assert [record.reason for record in records] == [reason] * 2
    assert failures(records) == [f"2 trials failed: {reason}"]


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (partial(nn.Linear(3, 3), torch.zeros(2, 2)), "RuntimeError: mat1 and mat2 shapes cannot be multiplied (2x2 and 3x3)"),
        (partial(json.loads, "no"), "JSONDecodeError: Expecting value: line 1 column 1 (char 0)"),
        (partial(space.option, space.Each((1,)), 2), "KeyError: '2 is none of 1'"),
        (partial(exec, "raise ValueError('typed in')"), "ValueError: typed in"),
    ],
)  # fmt: skip
def test_where_no_line_of_the_user_s_own_led_to_a_failure_none_is_named(call: Callable[[], object], said: str) -> None:
    with pytest.raises((RuntimeError, ValueError, KeyError), match=re.escape(said.partition(": ")[2])) as caught:
        call()
    assert caught.tb.tb_next is not None  # the first frame is this file's
    assert failure(caught.value.with_traceback(caught.tb.tb_next))[:2] == (Status.FAILED, said)


def test_no_line_is_blamed_for_the_memory_that_ran_out() -> None:
    with pytest.raises(MemoryError) as caught:
        raise MemoryError("full")
    assert failure(caught.value)[:2] == (Status.OUT_OF_MEMORY, "MemoryError: full")


@dataclass(frozen=True, kw_only=True, slots=True)
class Normed:
    """A perceptron with a batch norm on points that it sees ``times`` over, as if on so many pixels."""

    times: int = 1
    narrow: bool = False

    def build(self) -> nn.Module:
        norm = nn.BatchNorm1d(4)
        return Often(self.times, nn.Linear(2, 4), norm, nn.Linear(4, 3), narrow=self.narrow)


class Often(nn.Module):
    def __init__(self, times: int, inner: nn.Module, norm: nn.Module, outer: nn.Module, *, narrow: bool) -> None:
        super().__init__()
        self.times, self.narrow, self.inner, self.norm, self.outer = times, narrow, inner, norm, outer

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.narrow and len(x) < 2:
            raise ValueError("I need two")
        x = self.inner(x)
        if self.times > 1:
            return self.outer(self.norm(x[..., None].expand(-1, -1, self.times)).mean(-1))  # type: ignore[no-any-return]
        return self.outer(self.norm(x))  # type: ignore[no-any-return]


def batches_of(size: Any, model: Any, **changes: Any) -> Sweep:
    """On 61 samples to train on."""
    base = small(search=Random(trials=2), early_stop=None)
    return replace(base, recipe=replace(base.recipe, batch_size=size, model=model, **changes))


REFUSED = (
    "61 samples in batches of {} leave a last one of 1, of which BatchNorm1d cannot take a variance; "
    "choose another batch_size, such as {}, or leave out a sample"
)


@pytest.mark.parametrize(
    ("size", "model", "refused"),
    [
        (20, Normed(), [(20, 21)]),
        (each(16, 20, 60), Normed(), [(20, 21), (60, 61)]),
        (choice(16, 17, 30, 32), Normed(), [(30, 31)]),
        (choice(16, 30), choice(Normed(), MLP()), [(30, 31)]),
        (int_range(16, 20), Normed(), [(20, 21)]),
        (PerWorker(4), Normed(), [(4, 7)]),
    ],
)
def test_a_batch_norm_is_not_left_a_single_sample(size: Any, model: Any, refused: list[tuple[int, int]]) -> None:
    with pytest.raises(ConflictError) as caught:
        rehearse(batches_of(size, model))
    assert [*caught.value.conflicts] == [REFUSED.format(*pair) for pair in refused]


def test_a_single_sample_is_refused_only_where_it_would_stop_a_trial() -> None:
    for size, model in (
        (each(16, 32, 61, 64), Normed()),
        (20, Normed(times=9)),
        (20, MLP()),
        (16, Normed(narrow=True)),
    ):
        rehearse(batches_of(size, model))
    rehearse(batches_of(20, Normed(), freeze=("norm.*",)))
    with pytest.raises(ConflictError, match="64 samples in batches of 21 leave"):
        rehearse(batches_of(21, Normed(), split=KFold(folds=5)))
    rehearse(batches_of(20, Normed(), split=KFold(folds=5)))
    with pytest.raises(QuestionError, match=r"a last batch of one sample of task .* raises ValueError: I need two"):
        rehearse(batches_of(20, Normed(narrow=True)))
    rehearse(replace(batches_of(20, Normed()), resources=Resources(workers=2)))


def raced(sweep: Sweep, folder: Path, book: ledgers.Ledger, followers: Sequence[Follower] = ()) -> Race:
    programme = Programme(sweep, (), spent=lambda: 0.0, concurrency=1)
    return Race(
        sweep, programme, book, followers, known=(), rows={}, machine=Machine.here(None), lane="solo",
        checkpoints=folder / "checkpoints",
    )  # fmt: skip


def test_a_trial_whose_process_dies_is_dealt_again_twice_and_then_fails(tmp_path: Path) -> None:
    sweep = small(
        search=None, early_stop=None, recipe=replace(small().recipe, batch_size=8, optimizer=SGD(lr=0.3)), seeds=2
    )
    with closing(ledgers.Ledger(tmp_path)) as book:
        race = raced(sweep, tmp_path, book)
        first = race.next()
        assert first is not None
        race.told(first.id, {"rows": [{"epoch": 1, "train/loss": 1.0, "val/loss": 1.0, "val/accuracy": 0.5}]})
        for _ in range(2):
            race.died(first.id)
            assert race.next() == first
        race.died(first.id)
        second = race.next()
        assert second is not None
        assert second.id != first.id
        race.died(second.id)
        assert race.next() == second
        race.told(second.id, {"rows": [], "status": "completed", "reason": None, "error": None})
        assert race.next() is None
        assert race.done
    failed, completed = read_ledger(tmp_path)
    assert (failed.status, failed.epochs) == (Status.FAILED, 1)
    assert "its process died 3 times" in (failed.reason or "")
    assert completed.reason == "its process died once, it went on from its checkpoint"


def test_epochs_that_are_trained_again_replace_those_before_and_nobody_hears_of_them_twice(tmp_path: Path) -> None:
    """Killed after epoch 4 with a checkpoint of epoch 1; what it trains then comes out otherwise, and is what it has weights of."""
    sweep = small(
        search=None, early_stop=None, recipe=replace(small().recipe, batch_size=8, optimizer=SGD(lr=0.3)), seeds=1
    )
    before = [{"epoch": epoch, "train/loss": 1.0, "val/accuracy": 0.5 + 0.1 * epoch} for epoch in range(1, 5)]
    after = [before[0], *({**row, "val/accuracy": 0.4 + 0.05 * row["epoch"]} for row in before[1:3])]
    diary = Diary()
    with closing(ledgers.Ledger(tmp_path)) as book:
        race = raced(sweep, tmp_path, book, [diary])
        job = race.next()
        assert job is not None
        for row in before:
            race.told(job.id, {"rows": [row]})
        race.died(job.id)
        assert race.next() == job
        race.told(job.id, {"rows": after})
        assert read_live(tmp_path) == {job.id: after}
        race.told(job.id, {"rows": [], "status": "completed", "reason": None, "error": None})
    (record,) = read_ledger(tmp_path)
    assert [*record.history] == after
    assert record.best_epoch == 1  # the fourth, which had been better, is no more
    assert record.metrics["val/accuracy"] == pytest.approx(0.6)
    assert [epoch for _, epoch in diary.rows] == [1, 2, 3, 4]


def test_out_of_memory_has_a_status_of_its_own(tmp_path: Path) -> None:
    (record,) = run(flaky(tmp_path, 9, torch.OutOfMemoryError), tmp_path / "run")
    assert record.status is Status.OUT_OF_MEMORY


def test_ids_are_the_same_for_the_same_trial_and_for_no_other() -> None:
    recipe = Recipe(model=MLP(), optimizer=AdamW(lr=0.1))
    one = identity(task, recipe, Stage.FINAL, 1)
    assert one == identity(replace(task, goal=Maximise("accuracy", target=0.99), samples=None), recipe, Stage.FINAL, 1)
    others = [
        identity(task, replace(recipe, optimizer=AdamW(lr=0.2)), Stage.FINAL, 1),
        identity(task, recipe, Stage.HEAT, 1),
        identity(task, recipe, Stage.FINAL, 2),
        identity(replace(task, name="other"), recipe, Stage.FINAL, 1),
        identity(task, replace(recipe, seed=Seeds(init=1)), Stage.FINAL, 1),
    ]
    assert len({one, *others}) == 6


def test_a_job_survives_its_journey() -> None:
    sweep = small()
    job = Job.of(
        sweep,
        stage=Stage.FINAL,
        level={"batch_size": 8},
        point={"batch_size": 8, "optimizer.lr": 0.1},
        seed=2,
        seeds=sweep.final_seeds(2),
    )
    assert Job.from_json(job.to_json()) == job


def test_repeated_points_are_told_not_run(tmp_path: Path) -> None:
    base = small(search=Random(trials=6), early_stop=None, seeds=1)
    sweep = replace(base, recipe=replace(base.recipe, batch_size=each(8, 32), optimizer=SGD(lr=choice(0.1, 0.3))))
    records = run(sweep, tmp_path)
    heats = [record for record in records if record.stage is Stage.HEAT]
    assert len(heats) <= 4
    assert len(records) - len(heats) == 2
    assert finished(sweep, records)


def test_conditional_holes_are_searched_and_resumed(tmp_path: Path) -> None:
    base = small(search=TPE(trials=6, startup=2), early_stop=None, seeds=1)
    recipe = replace(
        base.recipe,
        batch_size=16,
        optimizer=choice(SGD(lr=uniform(0.1, 1.0)), AdamW(lr=log_uniform(1e-4, 1e-2))),
        average=choice(None, EMA(decay=uniform(0.9, 0.99))),
    )
    sweep = replace(base, recipe=recipe)
    with pytest.raises(KeyboardInterrupt):
        run(sweep, tmp_path, Diary(30))
    records = run(sweep, tmp_path)
    assert Counter(record.stage for record in records) == {Stage.HEAT: 6, Stage.FINAL: 1}
    for record in records:
        assert ("average.decay" in record.point) == (record.point["average"] == "EMA")


def test_the_study_knows_what_the_ledger_holds(tmp_path: Path) -> None:
    sweep = small()
    records = run(sweep, tmp_path)
    heats = [r for r in records if r.stage is Stage.HEAT and r.level["batch_size"] == 8]
    study = LevelStudy(sweep, {"batch_size": 8}, TPE(trials=5), len(heats))
    for record in heats:
        study.add(record)
    counts = Counter({Status.COMPLETED: "COMPLETE", Status.STOPPED: "PRUNED"}[record.status] for record in heats)
    assert study.size == dict(counts)
    best = max(r.metrics["val/accuracy"] for r in heats if r.status is Status.COMPLETED)
    assert study._study.best_value == best
    pruned = [t for t in study._study.trials if t.state.name == "PRUNED"]
    assert all(t.intermediate_values for t in pruned)


def test_rungs_are_rebuilt_from_histories_and_decide_as_before() -> None:
    settings = ASHA(grace=1, factor=2)
    values = {
        f"t{number}": [0.1 * number + 0.01 * epoch for epoch in range(1, 9)] for number in (5, 1, 4, 2, 3, 8, 7, 6)
    }

    def decide(halving: Levels, name: str) -> int | None:
        for epoch, value in enumerate(values[name], 1):
            if halving.stops("level", name, epoch, value):
                return epoch
        return None

    undisturbed = Levels(settings, 8, "max")
    expected = {name: decide(undisturbed, name) for name in values}
    assert len(set(expected.values())) > 1
    names = list(values)
    first = Levels(settings, 8, "max")
    before = {name: decide(first, name) for name in names[:4]}
    resumed = Levels(settings, 8, "max")
    for name in names[:4]:
        stop = before[name] or 8
        resumed.feed("level", name, [{"epoch": e, "val/x": v} for e, v in enumerate(values[name][:stop], 1)], "val/x")
    assert before | {name: decide(resumed, name) for name in names[4:]} == expected


def test_halving_is_by_level_and_never_at_the_last_epoch() -> None:
    halving = Levels(ASHA(grace=1, factor=2), 2, "max")
    assert not halving.stops("a", "one", 1, 0.9)
    assert not halving.stops("b", "two", 1, 0.1)
    assert halving.stops("a", "three", 1, 0.1)
    assert not halving.stops("a", "three", 2, 0.0)
    assert not halving.stops("a", "four", 1, math.nan)
    assert not Levels(None, 2, "max").stops("a", "one", 1, 0.0)


def test_the_budget_closes_the_heats_and_keeps_back_the_finals() -> None:
    sweep = small(budget_seconds=100.0, search=TPE(trials=50), early_stop=None)
    clock = 0.0
    programme = Programme(sweep, (), spent=lambda: clock, concurrency=1)
    dealt: Counter[Stage] = Counter()
    while (job := programme.next()) is not None:
        dealt[job.stage] += 1
        begun, clock = clock, clock + 4.0
        history = [{"epoch": e, "val/accuracy": 0.5, "train/loss": 1.0} for e in range(1, 10)]
        programme.ended(
            TrialRecord(
                id=job.id,
                sweep="small",
                task="clusters",
                stage=job.stage,
                level=job.level,
                point=job.point,
                seed=job.seed,
                status=Status.COMPLETED,
                epochs=9,
                history=history,
                metrics={"val/accuracy": 0.5},
                number=job.number,
                started=begun,
                ended=clock,
            )
        )
    assert programme.done
    assert dealt[Stage.FINAL] == 12
    assert 2 <= dealt[Stage.HEAT] < 20
    assert clock <= 100.0


def test_a_budget_is_the_sweep_s_and_the_same_command_adds_nothing(tmp_path: Path) -> None:
    sweep = small(budget_seconds=1e-3, early_stop=None)
    records = run(sweep, tmp_path)
    assert Counter(record.stage for record in records) == {Stage.HEAT: 2, Stage.FINAL: 12}
    assert finished(sweep, records)
    assert run(sweep, tmp_path) == records


@pytest.mark.parametrize(("shared", "validating"), [(None, None), (8, None), (8, 40.0)])
def test_trials_of_a_pack_take_their_share_of_a_budget(shared: int | None, validating: float | None) -> None:
    """Eight heats at once for 40 s: finals are then reckoned at 5 s each, but for the two that are timed, at 40.

    Finals also look at the test set, which is reckoned as long as validation.
    """
    sweep = small(search=Random(trials=8), early_stop=None, budget_seconds=300.0, seeds=6, timed=2)
    seconds, row = 40.0, {"val/accuracy": 0.5, "train/loss": 1.0} | ({} if shared is None else {"shared": shared})
    row |= {} if validating is None else {"seconds": 1.0, "wall_seconds": 1.0 + validating}
    clock = 0.0
    programme = Programme(sweep, (), spent=lambda: clock, concurrency=1)
    jobs = [job for job in (programme.next() for _ in range(8)) if job is not None]
    assert len(jobs) == 8
    for number, job in enumerate(jobs):
        record = TrialRecord(
            id=job.id, sweep="small", task="clusters", stage=job.stage, level=job.level, point=job.point, seed=job.seed,
            status=Status.COMPLETED, epochs=9, history=[{"epoch": epoch, **row} for epoch in range(1, 10)],
            metrics={"val/accuracy": 0.5}, number=number, started=0.0, ended=seconds,
        )  # fmt: skip
        programme.ended(record)
    # Two levels: 5 timed slots of 40 s and 8 others, of 5 s or of 40; with validation as long, of 80 and 10.
    clock = 59.0
    following = programme.next()
    assert following is not None
    assert following.stage is (Stage.HEAT if shared and not validating else Stage.FINAL)


@pytest.mark.parametrize("mode", ["max", "min"])
def test_little_is_kept_of_what_has_ended(mode: str, tmp_path: Path) -> None:
    """Two rows of a history, of which a search is told the best all the same."""
    goal = Maximise("accuracy") if mode == "max" else Minimise("accuracy")
    sweep = small(task=replace(task, goal=goal), search=TPE(trials=4), early_stop=None)
    records = run(sweep, tmp_path)
    programme = Programme(sweep, records, spent=lambda: 0.0, concurrency=1)
    for record in records:
        brief = programme._brief(record)
        curve = [row["val/accuracy"] for row in record.history]
        assert [row["epoch"] for row in brief.history] == sorted({record.best_epoch, 9})
        assert brief.history[0]["val/accuracy"] == (max(curve) if mode == "max" else min(curve))
        assert (brief.history[-1]["epoch"], brief.history[-1]["val/accuracy"]) == (9, curve[-1])
        assert brief.history[-1]["wall_seconds"] == record.history[-1]["wall_seconds"]
        assert replace(brief, history=record.history) == record


def test_what_was_spent_is_the_time_in_which_trials_were_under_way(tmp_path: Path) -> None:
    recipe = replace(small().recipe, batch_size=16, optimizer=SGD(lr=0.3))
    (first,) = run(small(recipe=recipe, search=None, early_stop=None, seeds=1), tmp_path)
    spans = [(0.0, 10.0), (1.0, 4.0), (8.0, 12.0), (100.0, 105.0), (100.0, 105.0)]
    records = [replace(first, started=started, ended=ended) for started, ended in spans]
    assert spent([*records, replace(first, ended=None)]) == 17.0


def test_a_factor_inside_another_s_option_keeps_its_levels_in_the_verdict(tmp_path: Path) -> None:
    base = small(search=None, early_stop=None, seeds=6)
    optimizer = each(AdamW(), SGD(momentum=each(0.0, 0.9)))
    sweep = replace(base, recipe=replace(base.recipe, batch_size=16, epochs=2, optimizer=optimizer))
    records = run(sweep, tmp_path)
    stored = question.described(sweep, Machine.here(None))
    question.store(tmp_path, stored)
    verdict = judge(read_question(tmp_path), records)
    assert sorted(level.label for level in verdict.levels) == ["AdamW", "SGD, 0", "SGD, 0.9"]
    assert {level.n for level in verdict.levels} == {6}


def test_a_cut_that_was_decided_but_not_written_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The driver dies between the decision and the line that says so."""
    sweep, end = small(search=Random(trials=9)), Race._end

    def dies(race: Race, entry: Any, status: Status, *rest: Any) -> None:
        if status is Status.STOPPED:
            raise KeyboardInterrupt
        end(race, entry, status, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(Race, "_end", dies)
        with pytest.raises(KeyboardInterrupt):
            run(sweep, tmp_path)
    (under_way,) = [record for record in read_ledger(tmp_path) if record.status is Status.RUNNING]
    told = read_live(tmp_path)[under_way.id]
    records = run(sweep, tmp_path)
    (closed,) = [record for record in records if record.id == under_way.id]
    assert closed.status is Status.STOPPED
    assert closed.reason == f"below the cut at epoch {told[-1]['epoch']}"
    assert closed.epochs == told[-1]["epoch"]


def test_a_budget_that_is_too_small_still_gives_every_level_a_heat() -> None:
    programme = Programme(small(budget_seconds=1e-9), (), spent=lambda: 1.0, concurrency=1)
    first, second = programme.next(), programme.next()
    assert first is not None
    assert second is not None
    assert {first.level["batch_size"], second.level["batch_size"]} == {8, 32}


def test_each_level_s_own_ranges_are_stored() -> None:
    optimizer = each(AdamW(lr=log_uniform(1e-4, 1e-2)), SGD(lr=log_uniform(1e-2, 1.0)))
    sweep = small(recipe=replace(small().recipe, batch_size=16, optimizer=optimizer))
    assert question.described(sweep, Machine.here(None))["spaces"] == [
        {"optimizer.lr": "log_uniform(0.0001, 0.01)"},
        {"optimizer.lr": "log_uniform(0.01, 1)"},
    ]


def test_a_folder_of_data_is_known_by_what_is_in_it(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x,y\n1,0\n")
    (tmp_path / "b.csv").write_text("x,y\n2,1\n")

    def digest() -> str | None:
        asked: str | None = question.asked(small(task=replace(task, data=Table(path=str(tmp_path)))))["file"]
        return asked

    before = digest()
    assert before is not None
    assert digest() == before
    (tmp_path / "b.csv").write_text("x,y\n2,0\n")
    edited = digest()
    (tmp_path / "b.csv").rename(tmp_path / "c.csv")
    assert len({before, edited, digest()}) == 3


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"search": None}, "the recipe has holes (optimizer.lr) but no search"),
        ({"recipe": replace(small().recipe, optimizer=SGD(lr=0.1))}, "has no hole to search"),
        ({"recipe": replace(small().recipe, batch_size=each())}, "batch_size: each() is empty"),
        ({"recipe": replace(small().recipe, epochs=each(3, 4))}, "epochs is a hole"),
        ({"early_stop": ASHA(grace=each(1, 2))}, "early_stop.grace is each(1, 2); early stopping is the same"),  # type: ignore[type-var]
        ({"recipe": replace(small().recipe, batch_size=each(8, 32), micro_batch=9)}, "micro_batch 9"),
        ({"recipe": replace(small().recipe, stop=EarlyStopping(patience=0))}, "patience 0"),
        (
            {"recipe": replace(small().recipe, model=choice(MLP(widths=each((1,), (2,))), MLP()))},
            "each() stands inside a choice()",
        ),
        ({"early_stop": ASHA(grace=20)}, "grace 20"),
        ({"seeds": 0}, "seeds 0"),
        ({"vary": ()}, "vary is empty"),
        ({"vary": ("weather",)}, "vary names weather"),
        ({"name": "a/b"}, "'a/b'"),
        ({"lane": "fast"}, "lane 'fast' is unknown"),
        (
            {"task": replace(task, goal=Maximise("recall"))},
            "'recall' is not among what the task reports (accuracy, loss)",
        ),
        (
            {"task": replace(task, metrics={**task.metrics, "cost": "cost"})},
            "the metric 'cost' is 'cost', not a function of output and target; give one, such as accuracy",
        ),
    ],
)
def test_a_wrong_question_is_refused_in_words(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(QuestionError) as caught:
        small(**changes).check()
    assert said in str(caught.value)


def test_the_good_ones_pass() -> None:
    from sweeps.batch_size import sweep

    small().check()
    sweep.check()


def test_a_torn_line_is_cut_off_and_the_next_stands_alone(tmp_path: Path) -> None:
    sweep = small(search=None, early_stop=None, recipe=replace(small().recipe, optimizer=SGD(lr=0.3)), seeds=1)
    run(sweep, tmp_path)
    path = tmp_path / "trials.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole[:-40])
    records = run(sweep, tmp_path)
    assert all(record.status is Status.COMPLETED for record in records)
    assert all(json.loads(line) for line in path.read_bytes().splitlines())
    assert path.read_bytes().startswith(whole[: whole[:-40].rfind(b"\n")])


def test_two_commands_cannot_work_in_one_folder(tmp_path: Path) -> None:
    with (
        ledgers.claimed(tmp_path),
        pytest.raises(QuestionError, match="another command is at work"),
        ledgers.claimed(tmp_path),
    ):
        pass
    with ledgers.claimed(tmp_path):
        pass


def test_a_precision_that_only_gpus_have_is_refused_before_launch_where_there_is_none() -> None:
    sweep = small(resources=Resources(gpus=0))
    sweep = replace(sweep, recipe=replace(sweep.recipe, precision=TF32()))
    with pytest.raises(ConflictError, match="TF32 needs an NVIDIA GPU"):
        rehearse(sweep)
    rehearse(replace(sweep, resources=Resources(gpus=1.0)))


def recall(output: Tensor, target: Tensor) -> Tensor:
    hit = (output.argmax(1) == 1) & (target == 1)
    return hit.sum() / (target == 1).sum()


def test_a_metric_that_is_no_mean_over_samples_is_refused_before_launch_unless_it_has_the_whole_set() -> None:
    sweep = small()
    batchwise = replace(sweep, task=replace(sweep.task, metrics={**sweep.task.metrics, "recall": recall}))
    with pytest.raises(QuestionError, match=r"'recall' gives .* no mean over samples.*WholeSet"):
        rehearse(batchwise)
    whole = {**sweep.task.metrics, "recall": WholeSet(recall)}
    rehearse(replace(sweep, task=replace(sweep.task, metrics=whole)))
    broken = {**sweep.task.metrics, "recall": WholeSet(lambda *_: 1 / 0)}
    with pytest.raises(QuestionError, match="ZeroDivisionError"):
        rehearse(replace(sweep, task=replace(sweep.task, metrics=broken)))


def compared(**changes: Any) -> Sweep:
    """Workers as a factor, at one batch for all and at one for each."""
    recipe = replace(small().recipe, batch_size=each(32, PerWorker(16)), optimizer=SGD(lr=0.1))
    return small(recipe=recipe, search=None, early_stop=None, resources=Resources(workers=each(1, 2)), **changes)


def test_the_number_of_workers_may_be_compared() -> None:
    sweep = compared()
    assert [*sweep.factors()] == ["batch_size", "resources.workers"]
    assert [(level["batch_size"], sweep.workers(level)) for level in sweep.levels()] == [
        (32, 1),
        (32, 2),
        ("PerWorker(samples=16)", 1),
    ]
    assert (sweep.most_workers, sweep.compares_workers) == (2, True)
    sweep.check()
    jobs = [
        Job.of(sweep, stage=Stage.FINAL, level=level, point=level, seed=1, seeds=sweep.final_seeds(1))
        for level in sweep.levels()
    ]
    assert len({job.id for job in jobs}) == 3
    assert sweep.resolved(sweep.levels()[2], sweep.final_seeds(1)).effective_batch(2) == 32


def test_one_configuration_under_two_names_is_run_once() -> None:
    sweep = compared()
    twin, run_as = {"batch_size": "PerWorker(samples=16)", WORKERS: 2}, {"batch_size": 32, WORKERS: 2}
    assert sweep.equal() == [(twin, run_as)]
    assert sweep.factors()["batch_size"] == [32, "PerWorker(samples=16)"]
    asked = question.described(sweep, Machine.here(None))
    assert asked["equal"] == [{"level": twin, "run_as": run_as}]
    assert twin not in asked["levels"]
    assert small().equal() == []
    wrong = replace(sweep, recipe=replace(sweep.recipe, batch_size=each(32, PerWorker("16"))))  # type: ignore[arg-type]
    assert any("PerWorker samples 16" in text for text in wrong.conflicts())


def test_workers_that_are_not_compared_change_a_trial_only_with_its_batch() -> None:
    def name(batch: int | PerWorker, workers: int) -> str:
        sweep = small(recipe=replace(small().recipe, batch_size=batch), resources=Resources(workers=workers))
        point = {"optimizer.lr": 0.1}
        return Job.of(sweep, stage=Stage.HEAT, level={}, point=point, seed=0, seeds=sweep.heat_seeds()).id

    assert name(32, 1) == name(32, 2) == name(PerWorker(16), 2)
    assert name(PerWorker(16), 1) == name(16, 4) != name(32, 1)


@pytest.mark.parametrize(
    ("resources", "said"),
    [
        (Resources(workers=0), "resources.workers 0 must be a whole number from 1"),
        (Resources(workers=each(1, 1.5)), "resources.workers 1.5 must be a whole number from 1"),  # type: ignore[type-var]
        (Resources(workers=each(1, 1)), "each names 1 more than once"),
        (Resources(workers=choice(1, 2)), "of the resources only workers can vary, by each"),
        (Resources(cpus=each(1, 2)), "of the resources only workers can vary, by each"),
    ],
)
def test_workers_that_make_no_sense_are_said(resources: Resources, said: str) -> None:
    with pytest.raises(QuestionError, match=said):
        small(resources=resources).check()
