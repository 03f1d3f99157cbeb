"""A row a trial, a row an epoch: types, missing values, files that are whole and harmless."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.records import Cost, Stage, Status, TrialRecord
from analysis.tables import epochs_table, trials_table, write_tables
from tests.planted import planted_record, planted_records


def record(**changes: object) -> TrialRecord:
    """One final of level 64, changed as asked."""
    base = planted_record(level=64, stage=Stage.FINAL, seed=3, number=7, score=0.9)
    return replace(base, **changes)  # type: ignore[arg-type]


def test_a_trial_is_one_flat_row() -> None:
    table = trials_table([record(reason="why", best_epoch=6)])
    assert len(table) == 1
    row = table.iloc[0].to_dict()
    assert row["id"] == "f00007"
    assert (row["stage"], row["status"], row["level"], row["seed"]) == ("final", "completed", "64", 3)
    assert (row["level.batch_size"], row["point.batch_size"], row["point.optimizer.lr"]) == (64, 64, 1e-3)
    assert row["test/accuracy"] == 0.9
    assert row["cost.peak_bytes"] == 300_000_000
    assert row["versions.torch"] == "2.13.0"
    assert row["started"] == pd.Timestamp(1_790_000_007, unit="s", tz="UTC")
    assert not {"history", "metrics", "point", "cost"} & set(row)


def test_settings_before_a_segment_s_own_are_json() -> None:
    segment = record(parent="abc", until=8, earlier=({"until": 4, "point": {"optimizer.lr": 0.5}},))
    table = trials_table([segment, record()])
    assert table["earlier"].tolist()[0] == '[{"until": 4, "point": {"optimizer.lr": 0.5}}]'
    assert (table["parent"].tolist()[0], table["until"].tolist()[0]) == ("abc", 8)
    assert table[["earlier", "parent", "until"]].iloc[1].isna().all()


def test_an_epoch_is_one_row_with_its_trial() -> None:
    records = planted_records({16: [0.9, 0.8], 64: [0.95, 0.94]}, heats=2)
    table = epochs_table(records)
    assert len(table) == sum(len(each.history) for each in records)
    one = table[table["id"] == records[0].id]
    assert list(one["epoch"]) == [1, 2, 3, 4, 5, 6]
    assert list(one["train/loss"]) == [row["train/loss"] for row in records[0].history]
    assert set(table["level"]) == {"16", "64"}


def test_what_is_unknown_is_missing_and_never_zero() -> None:
    table = trials_table([record(cost=Cost(seconds=1.0), number=None, ended=None), record(metrics={})])
    assert table["cost.cpu_seconds"].isna().tolist() == [True, False]
    assert table["number"].isna().tolist() == [True, False]
    assert table["ended"].isna().tolist() == [True, False]
    assert table["test/accuracy"].isna().tolist() == [False, True]
    assert table["number"].dtype == "Int64"


def test_a_metric_that_is_not_finite_is_missing() -> None:
    table = trials_table([record(metrics={"val/loss": float("nan"), "test/loss": float("inf")})])
    assert table[["val/loss", "test/loss"]].isna().all(axis=None)


@pytest.mark.parametrize(
    ("values", "dtype", "expected"),
    [
        ((64, None), "Int64", [64, None]),
        ((64, 0.5), "float64", [64.0, 0.5]),
        ((64, "auto"), "str", ["64", "auto"]),
        ((True, False), "boolean", [True, False]),
        ((True, 2), "str", ["True", "2"]),
        ((2**70, 1), "float64", [float(2**70), 1.0]),
    ],
)
def test_a_column_takes_the_type_of_its_values(values: tuple[object, ...], dtype: str, expected: list[object]) -> None:
    table = trials_table([record(point={"x": value}) for value in values])
    assert table["point.x"].dtype == dtype
    assert [None if pd.isna(value) else value for value in table["point.x"]] == expected


def test_a_metric_with_the_name_of_a_column_stands_apart() -> None:
    table = trials_table([record(metrics={"epochs": 2.5})])
    assert table["epochs"].tolist() == [6]
    assert table["metrics.epochs"].tolist() == [2.5]


def test_the_files_hold_the_tables(tmp_path: Path) -> None:
    records = planted_records({16: [0.9] * 3, 64: [0.95] * 3}, diverged=[(16, 2)], failed=[(64, 3)])
    paths = write_tables(tmp_path, records)
    assert [path.name for path in paths] == ["trials.parquet", "trials.csv", "epochs.parquet"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["epochs.parquet", "trials.csv", "trials.parquet"]
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "trials.parquet"), trials_table(records))
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "epochs.parquet"), epochs_table(records))
    text = pd.read_csv(tmp_path / "trials.csv")
    assert text["id"].tolist() == [each.id for each in records]
    np.testing.assert_array_equal(text["test/accuracy"], trials_table(records)["test/accuracy"])


def test_an_empty_ledger_gives_valid_files_with_columns(tmp_path: Path) -> None:
    write_tables(tmp_path, [])
    for name, column in (("trials.parquet", "cost.seconds"), ("epochs.parquet", "lr")):
        table = pd.read_parquet(tmp_path / name)
        assert len(table) == 0
        assert column in table.columns
    assert "status" in pd.read_csv(tmp_path / "trials.csv").columns
    full = trials_table([record()])
    assert trials_table([]).dtypes.equals(full.dtypes[list(trials_table([]).columns)])


def test_newlines_quotes_and_commas_in_an_error_survive_the_csv(tmp_path: Path) -> None:
    error = 'Traceback:\n  "x", line 1\r\nValueError: a, b; ü\n'
    write_tables(tmp_path, [record(status=Status.FAILED, error=error), record()])
    with (tmp_path / "trials.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["error"] for row in rows] == [error, ""]


def test_no_cell_of_the_csv_is_a_formula(tmp_path: Path) -> None:
    bad = record(reason="=cmd|' /C calc'!A0", error="@SUM(1)", point={"x": "-0.5", "=y": "+a"})
    write_tables(tmp_path, [bad])
    with (tmp_path / "trials.csv").open(newline="", encoding="utf-8") as file:
        row = next(iter(csv.DictReader(file)))
    assert row["reason"] == "'=cmd|' /C calc'!A0"
    assert row["error"] == "'@SUM(1)"
    assert (row["point.x"], row["point.=y"]) == ("-0.5", "'+a")
    assert pd.read_parquet(tmp_path / "trials.parquet")["reason"].tolist() == [bad.reason]


def test_an_unwritable_table_leaves_the_old_one_whole(tmp_path: Path) -> None:
    write_tables(tmp_path, [record()])
    before = (tmp_path / "trials.csv").read_bytes()
    broken = record(number="not a number")
    with pytest.raises((ValueError, TypeError)):
        write_tables(tmp_path, [broken])
    assert (tmp_path / "trials.csv").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["epochs.parquet", "trials.csv", "trials.parquet"]
