"""Classification of one's own table: a CSV or Parquet file with numeric columns and a column of classes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainables.errors import ConflictError
from trainables.metrics import accuracy
from trainables.splitting import stratified
from trainables.task import Maximise, Splits, Task

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """Rows of ``path``: every column but ``target`` is a numeric input, ``target`` (None: the last column) holds the classes.

    Called with a seed it gives a 60/20/20 split, stratified by class; inputs are scaled by mean and standard deviation of the
    training split. Raises ConflictError, naming file and column, for what cannot be read as such a table.
    """

    path: str | None = None
    target: str | None = None

    def __call__(self, seed: int) -> Splits:
        inputs, classes = self._read()
        splits = stratified(inputs, classes, seed=seed)
        x = splits.train[0]
        mean, scale = x.mean(0), x.std(0, correction=0)
        scale[scale == 0] = 1.0

        def scaled(tensors: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
            return (tensors[0] - mean) / scale, tensors[1]

        return Splits(train=scaled(splits.train), val=scaled(splits.val), test=scaled(splits.test))

    def _read(self) -> tuple[torch.Tensor, torch.Tensor]:
        import numpy as np
        import torch

        table = self._columns()
        names = list(table.column_names)
        doubled = sorted({name for name in names if names.count(name) > 1})
        if doubled:
            raise self._wrong(f"has more than one column {doubled[0]!r}; give every column a name of its own")
        target = self.target or names[-1]
        if target not in names:
            raise self._wrong(f"has no column {target!r}; it has {', '.join(names)}")
        inputs = [self._numbers(table.column(name), name) for name in names if name != target]
        if not inputs:
            raise self._wrong(f"has no column beside the target {target!r}; it needs at least one input")
        if table.column(target).null_count:
            raise self._wrong(f"column {target!r} has {table.column(target).null_count} empty cells; fill or drop them")
        values, classes = np.unique(np.asarray(table.column(target).to_pylist()), return_inverse=True)
        if not 2 <= len(values) <= max(2, len(classes) // 10):
            raise self._wrong(
                f"column {target!r} holds {len(values)} distinct values in {len(classes)} rows, which does not look like classes; "
                "name the column of classes, or write a Task of your own with MeanSquaredError for a number"
            )
        return torch.from_numpy(np.stack(inputs, axis=1)), torch.from_numpy(classes.reshape(-1))

    def _columns(self) -> Any:
        from pyarrow import ArrowException, csv, parquet

        if self.path is None:
            raise ConflictError("task table", ["no file is named; add --data PATH"])
        try:
            if Path(self.path).suffix.lower() in (".parquet", ".pq"):
                return parquet.read_table(self.path)
            return csv.read_csv(self.path)
        except FileNotFoundError:
            raise self._wrong("does not exist") from None
        except (ArrowException, OSError, UnicodeDecodeError) as error:
            raise self._wrong(f"cannot be read as a table: {error}") from error

    def _numbers(self, column: Any, name: str) -> Any:
        import numpy as np
        import pyarrow

        if column.null_count:
            raise self._wrong(f"column {name!r} has {column.null_count} empty cells; fill or drop them")
        try:
            numbers = np.asarray(column.cast(pyarrow.float32()).to_numpy())
        except pyarrow.ArrowInvalid as error:
            raise self._wrong(
                f"column {name!r} holds {column.type}, not numbers ({error}); encode or drop it"
            ) from None
        bad = np.flatnonzero(~np.isfinite(numbers))
        if len(bad):
            raise self._wrong(f"column {name!r}, row {bad[0] + 1} holds {numbers[bad[0]]}; all must be finite")
        return numbers

    def _wrong(self, what: str) -> ConflictError:
        return ConflictError("data", [f"{self.path} {what}"])


table = Task(name="table", data=Table(), metrics={"accuracy": accuracy}, goal=Maximise("accuracy"))
