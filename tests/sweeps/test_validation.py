"""Sweeps whose runs are not validated after every epoch: who is judged where, and what ledger, page and MLflow make of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from analysis.judge import judge
from analysis.ledger import read_ledger, read_question
from analysis.records import Stage, Status, TrialRecord
from analysis.tables import epochs_table
from analysis.tracking_runs import rows
from reports.page import write
from sweeps import ASHA, PBT, Random, Sweep, each
from sweeps.engine import question
from sweeps.engine.machine import Machine
from sweeps.engine.rehearsal import rehearse
from tests.sweeps.small import small
from tests.sweeps.test_engine import Diary, run
from trainables import ConflictError, EveryEpoch, Recipe, Sampled, Thirds, WithinEpoch
from trainables.models import StateSpace
from trainables.validation import Int8

SPARSE = Thirds(early=3, mid=2, late=4)
"""Of nine epochs: 3, 4, 6, 8, and the last."""


def with_recipe(sweep: Sweep, **changes: Any) -> Sweep:
    recipe: Recipe = replace(sweep.recipe, **changes)
    return replace(sweep, recipe=recipe)


@pytest.fixture(scope="module")
def sweep() -> Sweep:
    base = small(early_stop=ASHA(grace=2, factor=2), search=Random(trials=4), seeds=2)
    return with_recipe(
        base, batch_size=16, validation=each(EveryEpoch(), SPARSE, Sampled(share=0.5, every=4), WithinEpoch(every=0.5))
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, sweep: Sweep) -> Path:
    """Interrupted on its way."""
    sweep.check()
    folder = tmp_path_factory.mktemp("sparse")
    with pytest.raises(KeyboardInterrupt):
        run(sweep, folder, Diary(25))
    run(sweep, folder)
    question.store(folder, question.described(sweep, Machine.here(None)))
    return folder


def validated(record: TrialRecord) -> list[int]:
    return [row["epoch"] for row in record.history if "val/accuracy" in row]


def test_runs_are_judged_where_a_full_pass_is(folder: Path) -> None:
    records = [record for record in read_ledger(folder) if "Thirds" in str(record.level)]
    assert {record.status for record in records} == {Status.COMPLETED, Status.STOPPED}
    for record in records:
        assert validated(record) == [epoch for epoch in (3, 4, 6, 8, 9) if epoch <= record.epochs]
        assert record.best_epoch in validated(record)
        if record.status is Status.STOPPED:
            assert record.epochs in (3, 4, 8)  # the first pass at or after a rung: 2, 4 and 8


def test_finals_score_by_full_passes_alone(folder: Path) -> None:
    finals = [record for record in read_ledger(folder) if record.stage is Stage.FINAL]
    assert len(finals) == 8
    for record in finals:
        (row,) = (row for row in record.history if row["epoch"] == record.best_epoch)
        assert record.metrics["test/accuracy"] == row["test/accuracy"]
        assert record.metrics["val/accuracy"] == max(r["val/accuracy"] for r in record.history if "val/accuracy" in r)
        assert not [name for name in record.metrics if name.endswith("_sample")]
    sampled = [record for record in finals if "Sampled" in str(record.level)]
    assert [validated(record) for record in sampled] == [[4, 8, 9]] * 2
    assert all("val/accuracy_sample" in record.history[0] for record in sampled)


def test_ledger_tables_page_and_mlflow_bear_looks_and_gaps(folder: Path) -> None:
    records = read_ledger(folder)
    within = next(record for record in records if "WithinEpoch" in str(record.level))
    assert [look["batch"] for look in within.history[0]["within"]] == [2]
    told = rows(within, within.history)
    assert {name for name, *_ in told} >= {"val/accuracy", "train/loss"}
    assert [step for name, _, _, step in told if name == "step/val_loss"] == list(range(2, 4 * within.epochs + 1, 2))
    table = epochs_table(records)
    assert len(table) == sum(len(record.history) for record in records)
    assert table["within"].dropna().str.startswith("[{").all()
    verdict = judge(read_question(folder), records)
    assert len(verdict.levels) == 4
    write(folder)
    page = (folder / "report.html").read_text()
    for name in ("EveryEpoch", "Thirds", "Sampled", "WithinEpoch"):
        assert name in page


def test_every_segment_of_a_population_ends_with_a_full_pass(tmp_path: Path) -> None:
    sweep = with_recipe(
        small(search=PBT(trials=4, segments=3), early_stop=None, seeds=1),
        batch_size=16,
        validation=Thirds(early=9, mid=9, late=9),
    )
    records = run(sweep, tmp_path)
    heats = [record for record in records if record.stage is Stage.HEAT]
    assert len(heats) == 12
    for record in heats:
        assert validated(record) == [record.until]
        assert "val/accuracy" in record.metrics
    (final,) = (record for record in records if record.stage is Stage.FINAL)
    assert validated(final) == [*(turn["until"] for turn in final.earlier), 9]
    best = max(heats, key=lambda record: (record.until or 0, record.metrics["val/accuracy"]))
    assert final.point == best.point


def test_a_model_that_the_policy_cannot_ask_is_found_before_anything_is_started() -> None:
    """Also where the same model is asked by a policy that can."""
    base = small(search=Random(trials=1), early_stop=None, seeds=1)
    changes = {"batch_size": 16, "model": StateSpace(width=4, states=2)}
    rehearse(with_recipe(base, **changes, validation=EveryEpoch()))
    with pytest.raises(ConflictError, match=r"Int8\(every=9\) needs an INT8 copy of StateSpace.* take EveryEpoch"):
        rehearse(with_recipe(base, **changes, validation=each(EveryEpoch(), Int8(every=9))))
