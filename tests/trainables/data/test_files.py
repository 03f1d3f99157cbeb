"""Tables in files of every kind: the same rows, and what is wrong by file, row and column."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from pyarrow import csv, feather, parquet

from tests.trainables.small import recipe
from trainables import ConflictError
from trainables.data.files import files, kind, read
from trainables.fit import fit
from trainables.tasks.table import Table, table

DRAWN = np.random.default_rng(0)
COLUMNS: dict[str, list[Any]] = {
    "a": DRAWN.normal(size=60).tolist(),
    "b": DRAWN.integers(0, 9, 60).tolist(),
    "kind": ["yes" if value > 4 else "no" for value in DRAWN.integers(0, 9, 60)],
}
ROWS = pa.table(COLUMNS)


def objects(path: Path) -> None:
    path.write_text("\n".join(json.dumps(row) for row in ROWS.to_pylist()))


def tabs(path: Path) -> None:
    csv.write_csv(ROWS, path, csv.WriteOptions(delimiter="\t"))


def zipped(path: Path) -> None:
    WRITERS[path.with_suffix("").name](path.with_suffix(""))
    path.write_bytes(gzip.compress(path.with_suffix("").read_bytes()))


def streamed(path: Path) -> None:
    with path.open("wb") as file, pa.ipc.new_stream(file, ROWS.schema) as stream:
        stream.write_table(ROWS)


WRITERS = {
    "t.csv": lambda path: csv.write_csv(ROWS, path),
    "t.tsv": tabs,
    "t.csv.gz": zipped,
    "t.parquet": lambda path: parquet.write_table(ROWS, path),
    "t.jsonl": objects,
    "t.jsonl.gz": zipped,
    "t.feather": lambda path: feather.write_feather(ROWS, path),
    "t.arrow": streamed,
}


@pytest.mark.parametrize("name", WRITERS)
def test_every_kind_gives_the_same_training_data(name: str, tmp_path: Path) -> None:
    WRITERS[name](tmp_path / name)
    parquet.write_table(ROWS, tmp_path / "reference.parquet")
    found, reference = (Table(path=str(tmp_path / file))(1).named() for file in (name, "reference.parquet"))
    for part, tensors in reference.items():
        for mine, theirs in zip(found[part], tensors, strict=True):
            torch.testing.assert_close(mine, theirs)


def test_a_folder_is_its_files_by_name(tmp_path: Path) -> None:
    for number, rows in enumerate((ROWS[:20], ROWS[20:25], ROWS[25:])):
        parquet.write_table(rows, tmp_path / f"{number}.parquet")
    (tmp_path / "README.md").write_text("not a table")
    found = read(str(tmp_path))
    assert found.table.to_pydict() == COLUMNS
    assert [rows for _, rows in found.files] == [20, 5, 35]
    parquet.write_table(ROWS, tmp_path.parent / "whole.parquet")
    whole, parts = (Table(path=str(path))(2).train for path in (tmp_path.parent / "whole.parquet", tmp_path))
    assert all(map(torch.equal, parts, whole))


def test_a_task_trains_on_a_file(tmp_path: Path) -> None:
    objects(tmp_path / "t.jsonl")
    epochs = list(fit(replace(table, data=Table(path=str(tmp_path / "t.jsonl"))), recipe(epochs=2)))
    assert epochs[-1].metrics["train/loss"] < epochs[0].metrics["train/loss"]


def refused(path: Path, *columns: str) -> str:
    def every_cell() -> None:
        rows = read(str(path), columns or None)
        for name in rows.table.column_names:
            rows.numbers(name)

    with pytest.raises(ConflictError) as caught:
        every_cell()
    return str(caught.value).removeprefix(f"data: {path.parent}/")


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("t.csv", "a,b\n1,2\n3\n", "cannot be read as a table: row 2 has 1 cells where the header has 2: '3'; mend or drop it"),
        ("t.csv", "a,b\n1,2\n3,\n,4\n,4\n", ", row 3, column 'a' is empty, and 1 more of its cells are; fill it, or drop the row"),
        ("t.csv", "a,b\n1,2\n3,x\n", ", row 2, column 'b' holds 'x', which is no number; mend the cell, encode or drop the column"),
        ("t.csv", "a,b\n1,2\n3,-inf\n", ", row 2, column 'b' holds -inf; all must be finite in single precision: mend or drop"),
        ("t.csv", "a,b\n1,2\n3,1e300\n", ", row 2, column 'b' holds 1e+300; all must be finite in single precision"),
        ("t.csv", "a,b\n1,2\n3,NA\n", ", row 2, column 'b' holds 'NA', which is no number; mend the cell"),
        ("t.csv", "a,b\n1,\" 2\"\n3,y\n", ", row 2, column 'b' holds 'y', which is no number; mend the cell"),
        ("t.csv", "", " cannot be read as a table (csv): Empty CSV file"),
        ("t.jsonl", '{"a": 1}\n{"a": 2\n', " cannot be read as a table: row 2 is no JSON (Expecting ',' delimiter"),
        ("t.jsonl", '{"a": 1}\n{"a": null}\n', ", row 2, column 'a' is empty; fill it, or drop the row"),
        ("t.jsonl", '{"a": 1, "b": 1}\n{"a": 2}\n', ", row 2, column 'b' is empty; fill it, or drop the row"),
        ("t.jsonl", '{"a": 1}\n{"a": "x"}\n', "row 2, column 'a' holds 'x', a string where it was a number before; mend"),
        ("t.jsonl", '{"a": 1}\n[1]\n', " cannot be read as a table: row 2 is no JSON object; write it as {name: value, ...}"),
        ("t.json", '[{"a": 1}]', " it is one JSON array; write its objects one a line (jq -c '.[]' does)"),
        ("t.jsonl", '{"a": [1, 2]}\n', ", row 1, column 'a' holds [1, 2], which is no number"),
        ("t.parquet", "PAR1", " cannot be read as a table (parquet): "),
        ("t.arrow", "nothing", " cannot be read as a table (arrow): "),
        ("t.xlsx", "", " is none of the files that can be read: .csv, .tsv, "),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_by_file_row_and_column(name: str, text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    found = refused(tmp_path / name)
    assert found.startswith(name)
    assert said in found


def test_whole_numbers_too_long_for_single_precision_and_texts_in_spaces_are_numbers(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(f'a,b\n{2**24 + 1}," 2"\n{2**62},"3.5 "\n')
    rows = read(str(tmp_path / "t.csv"))
    assert rows.numbers("a").tolist() == [2.0**24, 2.0**62]
    assert rows.numbers("b").tolist() == [2.0, 3.5]


def test_an_empty_class_is_no_class_and_one_that_is_called_na_is(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("a,kind\n" + "1,NA\n2,yes\n" * 20 + "3,\n")
    with pytest.raises(ConflictError, match="row 41, column 'kind' is empty; fill it, or drop the row"):
        Table(path=str(path))(1)
    path.write_text("a,kind\n" + "1,NA\n2,yes\n" * 20)
    assert Table(path=str(path))(1).shape(table.loss).outputs == 2


def test_columns_that_are_missing_are_named(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,b\n1,2\n")
    assert refused(tmp_path / "t.csv", "a", "c") == "t.csv has no column 'c'; it has a, b"
    assert refused(tmp_path / "nowhere.csv") == "nowhere.csv does not exist"


def test_in_a_folder_the_file_is_named_and_its_own_row(tmp_path: Path) -> None:
    folder = tmp_path / "shards"
    folder.mkdir()
    (folder / "0.csv").write_text("a,b\n1,2\n3,4\n")
    (folder / "1.csv").write_text("a,b\n1,2\n3,\n")
    assert refused(folder) == "shards/1.csv, row 2, column 'b' is empty; fill it, or drop the row"
    (folder / "1.csv").write_text("a,c\n1,2\n")
    assert refused(folder) == "shards/1.csv has the columns a, c, the files before it a, b"
    (folder / "1.csv").write_text("b,a\n2,1\n")
    assert read(str(folder)).table.to_pydict() == {"a": [1, 3, 1], "b": [2, 4, 2]}
    (folder / "2.parquet").write_text("")
    assert refused(folder) == "shards holds files of several kinds (csv, parquet); leave those of one kind"
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(ConflictError, match=r"empty holds no table; files that end in \.csv"):
        files(str(empty))


def test_kinds_go_by_the_name() -> None:
    assert [kind(name) for name in ("A.CSV", "x.parquet", "x.json.gz", "x.npy", "x")] == [
        "csv",
        "parquet",
        "json",
        None,
        None,
    ]
