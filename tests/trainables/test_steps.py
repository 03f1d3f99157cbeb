"""Loss and learning rate by step: what they say, and that no crash loses or doubles them."""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch

from analysis.steps import read
from tests.trainables.small import recipe, task
from tests.trainables.test_world import TOLERANCE, together
from trainables import AdamW, ClipNorm, ConflictError, Cosine, Keep
from trainables.fit import fit
from trainables.models import MLP
from trainables.steps import STEPS, StepLog
from trainables.train import train
from trainables.world import World

if TYPE_CHECKING:
    from trainables.run import Run
    from trainables.task import Tensors

Rows = Sequence[Mapping[str, Any]]

# 61 samples in batches of 8: eight steps an epoch, the last one of five samples.
SETTINGS = recipe(
    model=MLP(widths=(8,), dropout=0.3),
    batch_size=8,
    epochs=3,
    optimizer=AdamW(lr=0.05),
    schedule=Cosine(warmup=0.2),
    clip=ClipNorm(0.5),
)


def never(_: object) -> bool:
    return False


def essence(rows: Rows) -> list[dict[str, Any]]:
    """All but the time of day."""
    return [{name: value for name, value in row.items() if name != "time"} for row in rows]


@dataclass
class Beside:
    """The loss of every step, as the tally grows."""

    losses: list[tuple[float, float]]

    def through(self, run: Run, batches: Iterator[Tensors]) -> Iterator[Tensors]:
        for batch in batches:
            before = float(run.tally.loss), float(run.tally.weight)
            yield batch
            self.losses.append((float(run.tally.loss) - before[0], float(run.tally.weight) - before[1]))


def test_every_line_is_the_mean_since_the_line_before(tmp_path: Path) -> None:
    beside, path = Beside([]), tmp_path / "a" / STEPS
    log = StepLog(path, 3)
    whole = list(fit(task, SETTINGS, through=lambda run, batches: beside.through(run, log.through(run, batches))))
    rows = read(path)
    assert [(row["epoch"], row["step"], row["over"]) for row in rows] == [
        *((1, 3, 3), (1, 6, 3)),
        *((2, 9, 1), (2, 12, 3), (2, 15, 3)),
        *((3, 18, 2), (3, 21, 3), (3, 24, 3)),
    ]
    for row in rows:
        part = beside.losses[row["step"] - row["over"] : row["step"]]
        mean = sum(loss for loss, _ in part) / sum(weight for _, weight in part)
        assert row["loss"] == pytest.approx(mean, rel=1e-12)
        assert row["samples"] == 61 * (row["epoch"] - 1) + min(61, 8 * (row["step"] - 8 * (row["epoch"] - 1)))
    # The last epoch's lines together are its training loss, and its last rate.
    assert rows[-1]["lr"] == whole[-1].lr
    sums = rows[-1]["sums"]
    assert sums[0] / sums[1] == whole[-1].metrics["train/loss"]
    assert sums[2] / sums[3] == whole[-1].metrics["train/grad_norm"]
    assert next(set(json.loads(line)) for line in path.read_text().splitlines()) == {
        *("epoch", "step", "samples", "lr", "loss", "grad_norm", "over", "time", "sums")
    }


def test_it_changes_nothing_and_is_off_by_default(tmp_path: Path) -> None:
    plain = train(task, SETTINGS, folder=tmp_path / "plain", report=never)
    noted = train(task, SETTINGS, folder=tmp_path / "noted", report=never, log_every=1)
    names = ("train/loss", "val/loss", "step", "lr")
    assert [[row[name] for name in names] for row in plain.history] == [
        [row[name] for name in names] for row in noted.history
    ]
    assert not (tmp_path / "plain" / STEPS).exists()
    assert len(read(tmp_path / "noted" / STEPS)) == 24
    assert "grad_norm" not in noted_without_clip(tmp_path)[0]


def noted_without_clip(folder: Path) -> Rows:
    train(task, recipe(epochs=1), folder=folder / "unclipped", report=never, log_every=2)
    return read(folder / "unclipped" / STEPS)


@dataclass
class Killed:
    """Breaks the run off at its n-th batch."""

    left: int

    def __call__(self, run: Run, batches: Iterator[Tensors]) -> Iterator[Tensors]:  # noqa: ARG002
        for batch in batches:
            self.left -= 1
            if self.left < 0:
                raise KeyboardInterrupt
            yield batch


@pytest.mark.parametrize("at", [3, 9, 13, 16])
@pytest.mark.parametrize("keep", [Keep(), Keep(steps=4)], ids=["epochs", "steps"])
def test_a_run_that_is_broken_off_ends_with_the_lines_of_the_undisturbed_one(
    tmp_path: Path, keep: Keep, at: int
) -> None:
    train(task, SETTINGS, folder=tmp_path / "whole", report=never, log_every=3, keep=keep)
    broken = tmp_path / "broken"
    with pytest.raises(KeyboardInterrupt):
        train(task, SETTINGS, folder=broken, report=never, log_every=3, keep=keep, through=Killed(at))
    with (broken / STEPS).open("ab") as file:
        file.write(b'{"epoch": 1, "step": 99, "lo')  # as a crash leaves it
    train(task, SETTINGS, folder=broken, report=never, log_every=3, keep=keep)
    assert essence(read(broken / STEPS)) == essence(read(tmp_path / "whole" / STEPS))
    told = [json.loads(line)["step"] for line in (broken / STEPS).read_text().splitlines() if line.endswith("}")]
    assert len(told) >= 8  # whatever was told twice is still there: nothing is taken back


def of_several(world: World) -> Rows:
    folder = Path(world.told(tempfile.mkdtemp()))
    path = folder / f"{world.rank}" / STEPS
    log = StepLog(path, 3)
    list(fit(task, recipe(batch_size=20, epochs=2, clip=ClipNorm(0.5)), world=world, through=log.through))
    return read(path)


def test_of_several_workers_the_first_writes_the_loss_of_all() -> None:
    alone = of_several(World())
    first, second = together(2, of_several)
    assert second == []
    assert len(first) == len(alone) == 2
    for mine, theirs in zip(first, alone, strict=True):
        for name in ("epoch", "step", "samples", "loss", "lr", "grad_norm"):
            assert mine[name] == pytest.approx(theirs[name], rel=0, abs=TOLERANCE), name


def test_what_is_not_finite_is_null(tmp_path: Path) -> None:
    trained = train(task, recipe(optimizer=AdamW(lr=1e200)), folder=tmp_path, report=never, log_every=1)
    assert trained.reason is not None
    rows = read(tmp_path / STEPS)
    assert rows[-1]["loss"] is None or not math.isfinite(trained.history[-1]["val/loss"])
    assert "NaN" not in (tmp_path / STEPS).read_text()


@pytest.mark.parametrize("every", [0, -1, 2.5, True])
def test_a_wrong_number_is_refused_before_anything_is_written(tmp_path: Path, every: Any) -> None:
    with pytest.raises(ConflictError, match="must be a whole number of steps from 1"):
        train(task, recipe(), folder=tmp_path / "run", report=never, log_every=every)
    assert not (tmp_path / "run").exists()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_on_a_gpu_the_lines_are_the_same(tmp_path: Path) -> None:
    for device in ("cpu", "cuda"):
        log = StepLog(tmp_path / device / STEPS, 3)
        list(fit(task, recipe(batch_size=8, epochs=2), device=device, through=log.through))
    mine, theirs = (read(tmp_path / device / STEPS) for device in ("cpu", "cuda"))
    assert [row["step"] for row in mine] == [row["step"] for row in theirs]
    for one, other in zip(mine, theirs, strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-9)
