"""Tables in files: CSV, Parquet, JSON lines, Arrow; one file, or a folder of files of one kind."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainables.errors import ConflictError

if TYPE_CHECKING:
    import numpy as np

KINDS = {
    **dict.fromkeys((".csv", ".tsv", ".txt"), "csv"),
    **dict.fromkeys((".parquet", ".pq"), "parquet"),
    **dict.fromkeys((".jsonl", ".ndjson", ".json"), "json"),
    **dict.fromkeys((".arrow", ".feather", ".ipc"), "arrow"),
}
"""Endings of names, and how such a file is read; ``.gz`` may follow."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rows:
    """The rows of some files, one file after the other. ``table`` is pyarrow's; ``files`` are the names and how many rows each has.

    Rows are counted from 1 within their file, a header not among them; in JSON lines a row is a line.
    """

    table: Any
    files: Sequence[tuple[str, int]]

    def numbers(self, name: str) -> np.ndarray[Any, Any]:
        """A column as float32, [N]. Raises ConflictError, naming file, row and column, for a cell that is no finite number."""
        import numpy as np
        import pyarrow

        column = self.filled(name)
        try:
            # Not safe: whole numbers beyond 2^24 are rounded to single precision, as others are.
            found = np.asarray(column.cast(pyarrow.float32(), safe=False).to_numpy())
        except (pyarrow.ArrowInvalid, pyarrow.ArrowNotImplementedError):
            values = [self._number(row, name, value) for row, value in enumerate(column.to_pylist())]
            with np.errstate(over="ignore"):
                found = np.asarray(values).astype(np.float32)
        bad = np.flatnonzero(~np.isfinite(found))
        if len(bad):
            row = int(bad[0])
            said = f"holds {column[row].as_py()!r}; all must be finite in single precision: mend or drop the row"
            raise self.wrong(row, name, said)
        return found

    def _number(self, row: int, name: str, value: Any) -> float:
        """A cell that is not stored as a number, such as a text in spaces. Raises ConflictError where it is none."""
        try:
            return float(value)
        except (TypeError, ValueError, OverflowError):
            raise self.wrong(
                row, name, f"holds {value!r}, which is no number; mend the cell, encode or drop the column"
            ) from None

    def filled(self, name: str) -> Any:
        """A column of which no cell is empty. Raises ConflictError for one that is not there, and names the first empty cell."""
        import pyarrow.compute

        names = self.table.column_names
        if name not in names:
            raise ConflictError("data", [f"{self.files[0][0]} has no column {name!r}; it has {', '.join(names)}"])
        column = self.table.column(name)
        if column.null_count:
            first = pyarrow.compute.index(column.is_null(), True).as_py()
            more = f", and {column.null_count - 1} more of its cells are" if column.null_count > 1 else ""
            raise self.wrong(first, name, f"is empty{more}; fill it, or drop the row")
        return column

    def wrong(self, row: int, name: str, what: str) -> ConflictError:
        """What is the matter with a cell; ``row`` is counted from 0 over all files."""
        place, file = row, ""
        for file, rows in self.files:  # noqa: B007
            if place < rows:
                break
            place -= rows
        return ConflictError("data", [f"{file}, row {place + 1}, column {name!r} {what}"])


def read(path: str, columns: Sequence[str] | None = None) -> Rows:
    """All rows of a file, or of the files of a folder in the order of their names; ``columns`` are those to be read, None all.

    Raises ConflictError that names the file, and the row where there is one, for what is no table, has a column twice or not at
    all, or differs from the first file.
    """
    import pyarrow

    tables = [_read(file, columns) for file in files(path)]
    names = tables[0].column_names
    for file, table in zip(files(path), tables, strict=True):
        if sorted(table.column_names) != sorted(names):
            raise _wrong(
                file, f"has the columns {', '.join(table.column_names)}, the files before it {', '.join(names)}"
            )
    counted = [(file, len(table)) for file, table in zip(files(path), tables, strict=True)]
    try:
        table = pyarrow.concat_tables([table.select(names) for table in tables], promote_options="permissive")
    except pyarrow.ArrowException as error:
        raise _wrong(path, f"holds files whose columns differ in type: {error}") from None
    return Rows(table=table, files=counted)


def files(path: str) -> list[str]:
    """The file, or those of the folder that are tables, by name. Raises ConflictError where there is none, or of several kinds."""
    if "://" in path or not Path(path).is_dir():
        return [path]
    found = [str(file) for file in sorted(Path(path).iterdir()) if file.is_file() and kind(str(file)) is not None]
    if not found:
        raise _wrong(path, f"holds no table; files that end in {', '.join(KINDS)} are read")
    kinds = sorted({str(kind(file)) for file in found})
    if len(kinds) > 1:
        raise _wrong(path, f"holds files of several kinds ({', '.join(kinds)}); leave those of one kind")
    return found


def kind(path: str) -> str | None:
    """How a file of this name is read, or None."""
    return KINDS.get(Path(path.removesuffix(".gz")).suffix.lower())


def _read(path: str, columns: Sequence[str] | None) -> Any:
    """One file as pyarrow's table."""
    import pyarrow

    readers = {"csv": _csv, "parquet": _parquet, "json": _json, "arrow": _arrow}
    how = kind(path)
    if how is None:
        raise _wrong(path, f"is none of the files that can be read: {', '.join(KINDS)}; save it as one of them")
    try:
        table = readers[how](path)
    except FileNotFoundError:
        raise _wrong(path, "does not exist") from None
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        raise _wrong(path, f"cannot be read as a table ({how}): {error}") from error
    names = table.column_names
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        raise _wrong(path, f"has more than one column {doubled[0]!r}; give every column a name of its own")
    missing = [name for name in columns or () if name not in names]
    if missing:
        raise _wrong(path, f"has no column {missing[0]!r}; it has {', '.join(names)}")
    return table.select(list(columns)) if columns is not None else table


def _csv(path: str) -> Any:
    """Empty cells are empty in texts too, and a text such as NA is one. Raises ConflictError with the row that has more or fewer
    cells than the header.
    """
    from pyarrow import csv

    bad: list[Any] = []

    def noted(row: Any) -> str:
        bad.append(row)
        return "error"

    tabs = Path(path.removesuffix(".gz")).suffix.lower() == ".tsv"
    parsed = csv.ParseOptions(delimiter="\t" if tabs else ",", invalid_row_handler=noted)
    met = csv.ConvertOptions(null_values=[""], strings_can_be_null=True)
    try:
        return csv.read_csv(_source(path), parse_options=parsed, convert_options=met)
    except Exception:
        if not bad:
            raise
    bad.clear()
    options = csv.ReadOptions(use_threads=False)  # rows are numbered only so; the header is the first
    try:
        csv.read_csv(_source(path), options, parsed, met)
    except Exception:
        if not bad:
            raise
        row = bad[0]
        raise _wrong(
            path,
            f"cannot be read as a table: row {row.number - 1} has {row.actual_columns} cells where the header has "
            f"{row.expected_columns}: {row.text[:80]!r}; mend or drop it",
        ) from None
    raise AssertionError(f"{path} was read the second time")


def _parquet(path: str) -> Any:
    from pyarrow import parquet

    return parquet.read_table(path)


def _json(path: str) -> Any:
    """Raises ConflictError with the line that is no object, or whose value is of another kind than those before."""
    import pyarrow
    from pyarrow import json as reader

    try:
        return reader.read_json(_source(path))
    except pyarrow.ArrowInvalid:
        for what in _bad_lines(path):
            raise _wrong(path, f"cannot be read as a table: {what}") from None
        raise


def _bad_lines(path: str) -> Iterator[str]:
    """What is wrong with the lines of a file of JSON objects."""
    import pyarrow

    seen: dict[str, str] = {}
    text = pyarrow.input_stream(_source(path)).read().decode()
    if text.lstrip().startswith("["):
        yield "it is one JSON array; write its objects one a line (jq -c '.[]' does)"
    for row, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            found = json.loads(line)
        except ValueError as error:
            yield f"row {row} is no JSON ({error}); mend or drop it"
            continue
        if not isinstance(found, dict):
            yield f"row {row} is no JSON object; write it as {{name: value, ...}}"
            continue
        for name, value in found.items():
            what = _what(value)
            if what is not None and seen.setdefault(name, what) != what:
                yield f"row {row}, column {name!r} holds {value!r}, a {what} where it was a {seen[name]} before; mend or drop it"


def _what(value: Any) -> str | None:
    """How JSON calls a value's kind; None for null."""
    kinds = {bool: "boolean", int: "number", float: "number", str: "string", list: "array", dict: "object"}
    return kinds.get(type(value))


def _arrow(path: str) -> Any:
    """A file of Arrow's random-access format, or of its stream."""
    import pyarrow

    source = _source(path, whole=True)
    try:
        return pyarrow.ipc.open_file(source).read_all()
    except pyarrow.ArrowInvalid:
        return pyarrow.ipc.open_stream(_source(path, whole=True)).read_all()


def _source(path: str, *, whole: bool = False) -> Any:
    """What pyarrow reads from: a local path, or an object store's file that has been opened; ``whole`` to read it in any order."""
    import pyarrow
    from pyarrow import fs

    if "://" not in path:
        return pyarrow.memory_map(path) if whole else path
    system, inner = fs.FileSystem.from_uri(path)
    return system.open_input_file(inner) if whole else system.open_input_stream(inner)


def _wrong(path: str, what: str) -> ConflictError:
    return ConflictError("data", [f"{path} {what}"])
