"""The ledger as tables: a row a trial and a row an epoch, as Parquet and CSV."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis.records import TrialRecord

if TYPE_CHECKING:
    import pandas as pd

_WHEN = "datetime64[ms, UTC]"
# What each table has however few trials there are; more columns follow from what the trials hold.
_TRIAL = {
    "id": "str",
    "number": "Int64",
    "sweep": "str",
    "task": "str",
    "stage": "str",
    "level": "str",
    "seed": "Int64",
    "status": "str",
    "reason": "str",
    "epochs": "Int64",
    "samples": "Int64",
    "steps": "Int64",
    "best_epoch": "Int64",
    "cost.seconds": "float64",
    "cost.cpu_seconds": "float64",
    "cost.gpu_seconds": "float64",
    "cost.joules": "float64",
    "cost.peak_bytes": "Int64",
    "lane": "str",
    "hardware": "str",
    "data": "str",
    "source": "str",
    "started": _WHEN,
    "ended": _WHEN,
    "error": "str",
    "parent": "str",
    "until": "Int64",
    "earlier": "str",
}
_EPOCH = {
    "id": "str",
    "number": "Int64",
    "stage": "str",
    "level": "str",
    "seed": "Int64",
    "epoch": "Int64",
    "step": "Int64",
    "samples": "Int64",
    "seconds": "float64",
    "lr": "float64",
    "time": _WHEN,
}
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_INT64 = 2**63


def trials_table(records: Sequence[TrialRecord]) -> pd.DataFrame:
    """One row a trial, in the ledger's order.

    Beside the fixed columns: ``level.PATH`` and ``point.PATH`` for what was compared and searched, the metrics at the chosen
    epoch by their names, ``versions.NAME``. ``earlier``, the settings before a segment's own, is JSON. What is unknown is missing;
    a column whose values differ in kind (64 and "auto") is text; times are in UTC.
    """
    return _frame((_trial(record) for record in records), _TRIAL)


def epochs_table(records: Sequence[TrialRecord]) -> pd.DataFrame:
    """One row an epoch of every trial, with the trial's id, number, stage, level and seed; metrics by their names."""
    return _frame((_epoch(record, row) for record in records for row in record.history), _EPOCH)


def write_tables(folder: Path, records: Sequence[TrialRecord]) -> list[Path]:
    """Write ``trials.parquet``, ``trials.csv`` and ``epochs.parquet``, each whole or not at all; their paths come back.

    In the CSV a text that a spreadsheet would take for a formula begins with an apostrophe; Parquet holds it as it is.
    """
    trials, epochs = trials_table(records), epochs_table(records)
    return [
        _written(folder / "trials.parquet", lambda path: trials.to_parquet(path, index=False)),
        _written(folder / "trials.csv", lambda path: _harmless(trials).to_csv(path, index=False, lineterminator="\n")),
        _written(folder / "epochs.parquet", lambda path: epochs.to_parquet(path, index=False)),
    ]


def _trial(record: TrialRecord) -> dict[str, Any]:
    line = record.to_json()
    row = {name: line.get(name) for name in _TRIAL} | {f"cost.{name}": value for name, value in line["cost"].items()}
    row["level"], row["earlier"] = _label(record), json.dumps(line["earlier"]) if record.earlier else None
    for group in ("level", "point", "versions"):
        row |= {f"{group}.{name}": value for name, value in line[group].items()}
    return row | _apart(line["metrics"], _TRIAL, "metrics")


def _epoch(record: TrialRecord, row: Mapping[str, Any]) -> dict[str, Any]:
    own = {
        "id": record.id,
        "number": record.number,
        "stage": record.stage.value,
        "level": _label(record),
        "seed": record.seed,
    }
    return own | _apart(row, own, "metrics")


def _label(record: TrialRecord) -> str:
    return ", ".join(str(value) for value in record.level.values())


def _apart(values: Mapping[str, Any], taken: Iterable[str], prefix: str) -> dict[str, Any]:
    """The values, those with a name that is taken under ``prefix.``."""
    return {f"{prefix}.{name}" if name in taken else name: value for name, value in values.items()}


def _frame(rows: Iterable[Mapping[str, Any]], fixed: Mapping[str, str]) -> pd.DataFrame:
    import pandas as pd

    rows = list(rows)
    names = dict.fromkeys([*fixed, *(name for row in rows for name in row)])
    columns = {name: _column([row.get(name) for row in rows], fixed.get(name)) for name in names}
    return pd.DataFrame(columns, index=pd.RangeIndex(len(rows)))


def _column(values: Sequence[Any], dtype: str | None) -> pd.Series[Any]:
    import pandas as pd

    dtype = dtype or _dtype(values)
    if dtype == _WHEN:
        times = [None if value is None else round(1000 * value) for value in values]
        return pd.Series(pd.to_datetime(pd.Series(times, dtype="Int64"), unit="ms", utc=True), dtype=dtype)
    if dtype == "str":
        values = [None if value is None else str(value) for value in values]
    return pd.Series(values, dtype=dtype)


def _dtype(values: Sequence[Any]) -> str:
    """The narrowest type that holds all values; text where they differ in kind."""
    kinds = {type(value) for value in values if value is not None}
    if kinds == {bool}:
        return "boolean"
    if kinds == {int} and all(-_INT64 <= value < _INT64 for value in values if value is not None):
        return "Int64"
    if kinds and kinds <= {int, float}:
        return "float64"
    return "str"


def _harmless(table: pd.DataFrame) -> pd.DataFrame:
    """The table with texts, and names of columns, that cannot run in a spreadsheet."""
    texts = {name: table[name].map(_quoted, na_action="ignore") for name in table.columns if table[name].dtype == "str"}
    return table.assign(**texts).rename(columns=_quoted)


def _quoted(text: str) -> str:
    if not text.startswith(_FORMULA):
        return text
    try:
        float(text)
    except ValueError:
        return f"'{text}"
    return text  # a number such as -0.5, in a column of text


def _written(path: Path, write: Callable[[Path], object]) -> Path:
    """Write beside the path, sync and rename, so that a crash leaves the old file or the new one."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        write(beside)
        with beside.open("rb+") as file:
            os.fsync(file.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return path
