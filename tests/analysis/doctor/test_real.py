"""Real networks that have a disease, and some that have none, trained here."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import torch

from analysis.doctor import Disease, Finding, examine
from analysis.ledger import Goal, Question
from analysis.records import Stage, Status, TrialRecord
from sweeps.engine import space
from tests.trainables.small import task
from trainables import SGD, AdamW, Chunked, Cosine, Recipe, Seeds, Splits, Task
from trainables.models import MLP
from trainables.tasks import digits
from trainables.train import train

SEEDS = (1, 2, 3)


def final(task: Task, recipe: Recipe, seed: int, folder: Path) -> TrialRecord:
    """One final as the ledger has it."""
    seeded = replace(recipe, seed=Seeds(init=seed, order=seed, split=seed))
    trained = train(task, seeded, folder=folder / str(seed), report=lambda _: False)
    row = next((row for row in trained.history if row["epoch"] == trained.best_epoch), {})
    record = TrialRecord(
        id=f"f{seed}",
        sweep="real",
        task=task.name,
        stage=Stage.FINAL,
        level={},
        point={},
        seed=seed,
        status=Status(trained.ending.value),
        reason=trained.reason,
        epochs=len(trained.history),
        metrics={name: value for name, value in row.items() if name.startswith(("val/", "test/"))},
        best_epoch=trained.best_epoch,
        history=trained.history,
    )
    return TrialRecord.from_json(record.to_json())


def seen(task: Task, recipe: Recipe) -> list[Finding]:
    """What the doctor says of three finals."""
    question = Question(
        sweep="real",
        task=task.name,
        goal=Goal(metric=task.goal.metric, mode=task.goal.mode),
        factors={},
        seeds=len(SEEDS),
        varied=("init", "order", "split"),
        raw={"recipe": dict(space.settings(recipe)), "trials": 0, "resources": {"workers": 1, "cpus": 1}},
    )
    with TemporaryDirectory() as folder:
        return examine(question, [final(task, recipe, seed, Path(folder)) for seed in SEEDS])


def unlearnable(seed: int) -> Splits:
    """Forty points whose classes say nothing of them: what is learned of these is of no use for others."""
    generator = torch.Generator().manual_seed(seed)
    inputs, classes = torch.randn(140, 8, generator=generator), torch.randint(3, (140,), generator=generator)
    return Splits(
        train=(inputs[:40], classes[:40]), val=(inputs[40:90], classes[40:90]), test=(inputs[90:], classes[90:])
    )


def by_class(seed: int) -> Splits:
    """The digits, their training samples sorted by class."""
    splits = digits.load(seed)
    order = splits.train[1].argsort(stable=True)
    return replace(splits, train=(splits.train[0][order], splits.train[1][order]))


small = Recipe(
    model=MLP(widths=(16,)), batch_size=16, epochs=30, optimizer=SGD(lr=0.1, momentum=0.9), schedule=Cosine()
)


def test_a_huge_learning_rate() -> None:
    first = seen(task, replace(small, optimizer=SGD(lr=1e30), epochs=12))[0]
    assert first.disease is Disease.DIVERGENCE
    assert "optimizer.lr 1e30 -> " in first.change or "clip=" in first.change
    large = seen(task, replace(small, optimizer=SGD(lr=30.0, momentum=0.9), schedule=Cosine(floor=1.0)))
    assert large[0].disease in (Disease.DIVERGENCE, Disease.OSCILLATION, Disease.NO_PROGRESS)
    assert large[0].change == "optimizer.lr 30 -> 10" or large[0].change.startswith("clip=")


def test_no_learning_rate() -> None:
    (one,) = seen(task, replace(small, optimizer=SGD(lr=1e-9), epochs=12))
    assert one.disease is Disease.NO_PROGRESS
    assert one.change == "optimizer.lr 1e-9 -> 1e-8"


def test_little_data_learned_by_heart() -> None:
    first = seen(replace(task, data=unlearnable), replace(small, model=MLP(widths=(64,)), optimizer=AdamW(lr=1e-2)))[0]
    assert first.disease is Disease.OVERFITTING
    assert first.change == "optimizer.weight_decay 0.01 -> 0.1"


def test_batches_sorted_by_class() -> None:
    """Each batch is of one class, and undoes what the one before has taught; shuffled, the same recipe is well."""
    recipe = Recipe(model=MLP(widths=(32,)), batch_size=32, epochs=24, optimizer=SGD(lr=0.05, momentum=0.9))
    first = seen(replace(digits, data=by_class), replace(recipe, sampling=Chunked(chunk=32, pieces=1)))[0]
    assert first.disease is Disease.OSCILLATION
    assert first.change == "sampling=Chunked(pieces=1) -> None"
    assert seen(digits, recipe) == []


def test_an_end_that_comes_too_soon() -> None:
    first = seen(digits, Recipe(model=MLP(widths=(32,)), optimizer=SGD(lr=0.03, momentum=0.9), epochs=5))[0]
    assert first.disease is Disease.SHORT
    assert first.change == "epochs 5 -> 10"


@pytest.mark.parametrize(
    ("healthy", "recipe"),
    [
        (task, small),
        (digits, Recipe(model=MLP(widths=(64,)), optimizer=AdamW(lr=3e-3), schedule=Cosine(warmup=0.1), epochs=20)),
    ],
    ids=["clusters", "digits"],
)
def test_healthy_runs_are_left_alone(healthy: Task, recipe: Recipe) -> None:
    assert seen(healthy, recipe) == []
