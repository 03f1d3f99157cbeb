"""Policies in the loop: what a row holds, that training is not touched, workers, named sets, going on after a break."""

from __future__ import annotations

import io
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.trainables.data.test_stream import Pieces
from tests.trainables.small import clusters, recipe, task
from tests.trainables.test_checkpoints_within import Noted
from tests.trainables.test_world import TOLERANCE, Normed, together
from trainables import (
    EMA,
    SGD,
    SWA,
    Adam,
    ConflictError,
    EarlyStopping,
    EveryEpoch,
    OnPlateau,
    Recipe,
    Sampled,
    Splits,
    Thirds,
    WithinEpoch,
    accuracy,
)
from trainables.course import Course, Segment
from trainables.data import InMemory, Stream
from trainables.evaluate import evaluate
from trainables.fit import Epoch, fit
from trainables.losses import CrossEntropy
from trainables.precision import FP64
from trainables.run import Run
from trainables.train import train
from trainables.validation import Validation
from trainables.world import World

POLICIES: dict[str, Validation] = {
    "thirds": Thirds(early=3, mid=2, late=3),
    "on a plateau": OnPlateau(patience=1, every=3),
    "a sample": Sampled(share=0.3, every=4),
    "within": WithinEpoch(every=0.25),
    "a sample within": WithinEpoch(every=1, share=0.5),
}
COSTS = {"seconds", "wall_seconds", "cpu_seconds", "peak_bytes", "time"}


def never(_: object) -> bool:
    return False


def last(settings: Recipe) -> Epoch:
    *_, epoch = fit(task, settings)
    return epoch


def told(history: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What must not depend on how often a run was interrupted, nor on the clock."""
    return [
        {name: value for name, value in row.items() if name not in COSTS and not name.startswith("system/")}
        for row in history
    ]


@pytest.mark.parametrize("name", POLICIES)
@pytest.mark.parametrize(
    "changes",
    [
        {"average": EMA(decay=0.9), "optimizer": Adam(lr=0.01)},
        {"average": SWA(epochs=3)},
        {"freeze": ("1.*",)},
    ],
    ids=["EMA", "SWA", "a frozen norm"],
)
def test_training_is_the_same_bit_for_bit_whatever_is_looked_at(name: str, changes: dict[str, Any]) -> None:
    """Dropout draws its masks from the generators that a look must leave alone, BatchNorm its statistics in training mode."""
    settings = recipe(model=Normed(), epochs=7, **changes)
    plain, looked = last(settings), last(replace(settings, validation=POLICIES[name]))
    assert [row["train/loss"] for row in looked.run.history] == [row["train/loss"] for row in plain.run.history]
    for mine, theirs in zip(
        looked.run.deployed.state_dict().values(), plain.run.deployed.state_dict().values(), strict=True
    ):
        assert torch.equal(mine, theirs)
    # The last epoch has its full pass.
    assert looked.metrics["val/loss"] == plain.metrics["val/loss"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Restless:
    """Dropout that draws in evaluation too."""

    def build(self) -> nn.Module:
        class Net(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.layer = nn.Linear(2, 3)

            def forward(self, points: Tensor) -> Tensor:
                return nn.functional.dropout(self.layer(points), 0.5, training=True)

        return Net()


def test_what_a_look_draws_is_drawn_apart() -> None:
    plain = recipe(model=Restless(), epochs=2)
    trained = [
        [row["train/loss"] for row in last(settings).run.history]
        for settings in (plain, replace(plain, validation=WithinEpoch(every=1)))
    ]
    assert trained[0] == trained[1]


def test_a_row_without_a_full_pass_has_no_values_under_plain_names() -> None:
    every = last(recipe(epochs=9)).run.history
    sparse = last(recipe(epochs=9, validation=POLICIES["thirds"])).run.history
    assert [row["epoch"] for row in sparse if "val/loss" in row] == [3, 4, 6, 9]
    for mine, theirs in zip(sparse, every, strict=True):
        named = {name for name in mine if name.startswith(("val", "test"))}
        assert named <= theirs.keys() | {"test/loss", "test/accuracy"}
        assert {name for name in named if name.startswith("val")} in (set(), {"val/loss", "val/accuracy"})
        assert all(mine[name] == theirs[name] for name in named if name.startswith("val"))


def test_improved_and_tested_is_what_a_full_pass_has_shown() -> None:
    best = -math.inf
    for epoch in fit(task, recipe(epochs=12, validation=Sampled(share=0.5, every=3))):
        value = epoch.metrics.get("val/accuracy")
        improved = value is not None and value > best
        best = max(best, value if value is not None else best)
        assert epoch.improved == improved
        assert ("test/accuracy" in epoch.metrics) == improved
        assert ("val/accuracy_sample" in epoch.metrics) == (epoch.epoch % 3 != 0)
    assert best > 0.5


def test_a_sample_of_everything_is_a_full_pass_under_its_own_name() -> None:
    every = last(recipe(average=EMA(decay=0.9))).run.history
    sampled = last(recipe(average=EMA(decay=0.9), validation=Sampled(share=1.0, every=9))).run.history
    for mine, theirs in zip(sampled[:-1], every[:-1], strict=True):
        for name in ("loss", "accuracy", "loss_raw", "accuracy_raw"):
            assert mine[f"val/{name}_sample"] == pytest.approx(theirs[f"val/{name}"], rel=1e-12)


def test_samples_are_drawn_anew_from_seed_and_epoch_and_stand_for_the_whole() -> None:
    still = recipe(epochs=40, optimizer=SGD(lr=1e-30), validation=Sampled(share=0.25, every=40))
    *sampled, end = last(still).run.history
    values = [row["val/loss_sample"] for row in sampled]
    assert len(set(values)) > 0.9 * len(values)  # of 15,504 choices two may be the same
    few = replace(still, epochs=3)
    assert [row.get("val/loss_sample") for row in last(few).run.history][:2] == values[:2]
    assert last(replace(few, seed=4)).run.history[0]["val/loss_sample"] != values[0]
    # Five of 20 samples at a time: the mean over 39 draws is close to the loss of all.
    off = torch.tensor(values) - end["val/loss"]
    assert 0 < abs(float(off.mean())) < 4 * float(off.std()) / math.sqrt(len(values))


def workers(world: World) -> dict[str, list[dict[str, Any]]]:
    histories = {}
    for name, policy in POLICIES.items():
        *_, epoch = fit(task, recipe(epochs=5, validation=policy, average=EMA(decay=0.9)), world=world)
        histories[name] = told(epoch.run.history)
    return histories


def test_two_workers_look_at_the_same_moments_and_at_the_same_samples() -> None:
    first, second = together(2, workers)
    assert first == second
    alone = workers(World())
    for name in POLICIES:
        for mine, theirs in zip(first[name], alone[name], strict=True):
            assert mine.keys() == theirs.keys()
            looks, their_looks = mine.pop("within", []), theirs.pop("within", [])
            assert mine == pytest.approx(theirs, rel=0, abs=TOLERANCE)
            assert len(looks) == len(their_looks)
            for look, other in zip(looks, their_looks, strict=True):
                assert look == pytest.approx(other, rel=0, abs=TOLERANCE)


def far(seed: int) -> Splits[Any]:
    """A second validation set, of five samples."""
    splits = clusters(seed)
    return replace(splits, more={"far": tuple(tensor[:5] for tensor in splits.val)})


def test_named_sets_are_looked_at_as_the_first_is() -> None:
    more = replace(task, data=far)
    sampled = next(fit(more, recipe(validation=Sampled(share=0.4)))).run.history[0]
    names = {name for name in sampled if name.startswith("val")}
    assert names == {"val/loss_sample", "val/accuracy_sample", "val_far/loss_sample", "val_far/accuracy_sample"}
    assert sampled["val_far/accuracy_sample"] * 2 in (0.0, 1.0, 2.0)  # two of five
    skipped = next(fit(more, recipe(validation=Thirds(early=2)))).run.history[0]
    assert not {name for name in skipped if name.startswith("val")}
    (look,) = next(fit(more, recipe(validation=WithinEpoch(every=0.5)))).run.history[0]["within"]
    assert {"batch": 2, "step": 2}.items() <= look.items()
    assert {"val/loss", "val/accuracy", "val_far/loss", "val_far/accuracy"} <= look.keys()


def test_a_look_sees_the_weights_of_its_moment() -> None:
    """The first batches of a run are those of a run that ends there."""
    looks = last(recipe(epochs=1, batch_size=8, validation=WithinEpoch(every=3))).run.history[0]["within"]
    assert [(look["batch"], look["step"]) for look in looks] == [(3, 3), (6, 6)]
    seen = []

    def through(run: Run, batches: Iterator[tuple[Tensor, ...]]) -> Iterator[tuple[Tensor, ...]]:
        for batch in batches:
            yield batch
            if run.tally.batches in (3, 6):
                values = evaluate(
                    run.module, run.splits.val, loss=run.loss, metrics=task.metrics, precision=FP64(), size=7
                )
                run.training()
                seen.append(values)

    list(fit(task, recipe(epochs=1, batch_size=8), through=through))
    for look, values in zip(looks, seen, strict=True):
        assert look["val/loss"] == pytest.approx(values["loss"], rel=1e-12)
        assert look["val/accuracy"] == values["accuracy"]


@pytest.mark.parametrize("name", POLICIES)
@pytest.mark.parametrize("at", [11, 12, 16])
def test_it_goes_on_from_the_middle_of_an_epoch_with_the_looks_that_it_had(name: str, at: int) -> None:
    """Eight steps an epoch: in mid-epoch, right after a look, and after the last batch of one."""
    settings = recipe(model=Normed(), batch_size=8, epochs=5, validation=POLICIES[name])
    noted = Noted(at)
    *_, whole = fit(task, settings, through=noted)
    *_, resumed = fit(task, settings, state=noted.state())
    assert told(resumed.run.history) == told(whole.run.history)


@pytest.mark.parametrize("name", POLICIES)
def test_an_interrupted_run_validates_where_the_undisturbed_one_does(name: str, tmp_path: Path) -> None:
    settings = recipe(epochs=8, validation=POLICIES[name])
    whole = train(task, settings, folder=tmp_path / "whole", report=never)
    for stop in (2, 5, 99):
        parts = train(task, settings, folder=tmp_path / "parts", report=lambda rows, stop=stop: len(rows) == stop)
    assert told(parts.history) == told(whole.history)
    assert parts.best_epoch == whole.best_epoch
    assert parts.ending == whole.ending


def test_looks_survive_a_file() -> None:
    epoch = last(recipe(epochs=1, validation=WithinEpoch(every=0.5)))
    file = io.BytesIO()
    torch.save(epoch.run.state(), file)
    file.seek(0)
    assert torch.load(file, weights_only=True)["history"] == epoch.run.history


def test_early_stopping_counts_full_passes_and_ends_at_one(tmp_path: Path) -> None:
    settings = recipe(
        epochs=90, optimizer=SGD(lr=0.5), stop=EarlyStopping(patience=2), validation=Sampled(share=0.5, every=3)
    )
    trained = train(task, settings, folder=tmp_path, report=never)
    assert trained.reason == "no improvement in 2 validated epochs"
    assert trained.best_epoch is not None
    assert trained.best_epoch % 3 == 0
    assert len(trained.history) == trained.best_epoch + 6 < 90
    assert "test/accuracy" in trained.history[trained.best_epoch - 1]


def test_divergence_is_seen_between_validations(tmp_path: Path) -> None:
    settings = recipe(optimizer=SGD(lr=1e200), epochs=9, validation=Thirds(early=9, mid=9, late=9))
    trained = train(task, settings, folder=tmp_path, report=never)
    assert trained.ending == "diverged"
    assert trained.reason is not None
    assert trained.reason.startswith("train/loss is")
    assert trained.best_epoch is None


def test_a_segment_ends_with_a_full_pass_whatever_the_recipe_says(tmp_path: Path) -> None:
    settings = recipe(epochs=8, validation=Thirds(early=8, mid=8, late=8))
    course = Course(earlier=(Segment(recipe=settings, until=3),), until=5)
    history = train(task, settings, folder=tmp_path / "part", report=never, course=course).history
    assert [row["epoch"] for row in history if "val/loss" in row] == [3, 5]
    whole = Course(earlier=(Segment(recipe=settings, until=3), Segment(recipe=settings, until=5)))
    final = train(task, settings, folder=tmp_path / "whole", report=never, course=whole).history
    assert told(final)[:5] == told(history)
    assert [row["epoch"] for row in final if "val/loss" in row] == [3, 5, 8]


def slow(output: Tensor, target: Tensor) -> Tensor:
    time.sleep(0.02)
    return accuracy(output, target)


def test_seconds_of_looks_are_validation_s() -> None:
    """A target is reached in training time; what is slept away in four passes is no part of it."""
    epoch = next(fit(replace(task, metrics={"accuracy": slow}), recipe(validation=WithinEpoch(every=0.25))))
    assert len(epoch.run.history[0]["within"]) == 3
    assert epoch.seconds["validate"] >= 4 * 0.02
    assert epoch.run.history[0]["wall_seconds"] - epoch.run.history[0]["seconds"] >= 4 * 0.02
    spent = epoch.run.tally.state()["spent"]
    assert spent["wall_seconds"] - spent["seconds"] >= 3 * 0.02


@dataclass(frozen=True, kw_only=True, slots=True)
class Spy:
    """A model that notes where its inputs lie in evaluation."""

    seen: list[tuple[int, int]]
    code: str = __name__

    def build(self) -> nn.Module:
        seen = self.seen

        class Net(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.layer = nn.Linear(2, 3)

            def forward(self, points: Tensor) -> Tensor:
                if not self.training:
                    seen.append((points.untyped_storage().data_ptr(), len(points)))
                out: Tensor = self.layer(points)
                return out

        Net.__module__ = self.code
        return Net()


@pytest.mark.parametrize("code", ["trainables.models.spy", "mine"])
def test_batches_of_tensors_are_slices_of_the_set_and_copies_for_code_that_may_write_into_them(code: str) -> None:
    model = Spy(seen=[], code=code)
    run = next(fit(task, recipe(model=model))).run
    model.seen.clear()
    evaluate(run.module, run.splits.val, loss=run.loss, metrics=task.metrics, precision=FP64(), size=7)
    whole = run.splits.val[0].untyped_storage().data_ptr()
    assert [(place == whole, size) for place, size in model.seen] == [(code != "mine", size) for size in (7, 7, 6)]


class Scaled(nn.Module):
    """Code of one's own that writes into what it is given."""

    def forward(self, points: Tensor) -> Tensor:
        points /= 2
        return points


class Halved(nn.Module):
    """The same without."""

    def forward(self, points: Tensor) -> Tensor:
        return points / 2


@dataclass(frozen=True, kw_only=True, slots=True)
class After:
    """A linear layer after another."""

    first: Callable[[], nn.Module]

    def build(self) -> nn.Module:
        return nn.Sequential(self.first(), nn.Linear(2, 3))


@pytest.mark.parametrize(
    ("writing", "leaving"),
    [(Scaled, Halved), (partial(nn.LeakyReLU, 0.5, inplace=True), partial(nn.LeakyReLU, 0.5))],
    ids=["one's own", "torch's"],
)
def test_a_module_that_writes_into_its_input_does_not_change_the_sets(
    writing: Callable[[], nn.Module], leaving: Callable[[], nn.Module]
) -> None:
    found = []
    for first in (writing, leaving):
        *_, last = fit(task, recipe(model=After(first=first)))
        found.append(
            [{name: row[name] for name in row if "/" in name and "system" not in name} for row in last.run.history]
        )
        torch.testing.assert_close(last.run.splits.val[0], task.data(3).val[0].double(), rtol=0.0, atol=0.0)
    assert found[0] == found[1]


def test_a_stream_has_no_samples_by_number_and_one_that_looks_at_all_of_it_is_fine() -> None:
    def streamed(seed: int) -> Splits[Any]:
        splits = clusters(seed)
        return replace(splits, val=Stream(shards=Pieces.of(splits.val, [8, 12])))

    on_disk = replace(task, data=streamed)
    for policy in (Sampled(), WithinEpoch(share=0.5)):
        with pytest.raises(ConflictError, match="draws samples by number, and val is a stream; take Thirds"):
            next(fit(on_disk, recipe(validation=policy)))
    for policy in (EveryEpoch(), WithinEpoch()):
        *_, epoch = fit(on_disk, recipe(validation=policy))
        assert epoch.metrics["val/loss"] == pytest.approx(last(recipe()).metrics["val/loss"], rel=1e-12)


def test_samples_of_a_source_are_those_of_the_same_tensors() -> None:
    def looked_up(seed: int) -> Splits[Any]:
        splits = clusters(seed)
        return replace(splits, val=InMemory(splits.val))

    settings = recipe(validation=Sampled(share=0.4, every=9))
    for mine, theirs in zip(fit(replace(task, data=looked_up), settings), fit(task, settings), strict=True):
        assert dict(mine.metrics) == pytest.approx(dict(theirs.metrics), rel=1e-12)


def test_what_has_no_parameters_is_evaluated_on_the_cpu() -> None:
    target = torch.tensor([0, 1, 1])
    values = evaluate(
        nn.Identity(),
        (torch.eye(3)[[0, 1, 2]].double(), target),
        loss=CrossEntropy(),
        metrics={"accuracy": accuracy},
        precision=FP64(),
        size=2,
    )
    assert values["accuracy"] == pytest.approx(2 / 3)
