"""Classification of one's own table: numeric columns and a column of classes, in CSV, Parquet, JSON lines or Arrow files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from trainables.data.files import read
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
    training split. Raises ConflictError, naming file, row and column, for what cannot be read as such a table.
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

        if self.path is None:
            raise ConflictError("task table", ["no file is named; add --data PATH"])
        rows = read(self.path)
        names = list(rows.table.column_names)
        target = self.target or names[-1]
        labels = rows.filled(target)
        inputs = [rows.numbers(name) for name in names if name != target]
        if not inputs:
            raise self._wrong(f"has no column beside the target {target!r}; it needs at least one input")
        values, classes = np.unique(np.asarray(labels.to_pylist()), return_inverse=True)
        if not 2 <= len(values) <= max(2, len(classes) // 10):
            raise self._wrong(
                f"column {target!r} holds {len(values)} distinct values in {len(classes)} rows, which does not look like classes; "
                "name the column of classes, or write a Task of your own with MeanSquaredError for a number"
            )
        return torch.from_numpy(np.stack(inputs, axis=1)), torch.from_numpy(classes.reshape(-1))

    def _wrong(self, what: str) -> ConflictError:
        return ConflictError("data", [f"{self.path} {what}"])


table = Task(name="table", data=Table(), metrics={"accuracy": accuracy}, goal=Maximise("accuracy"))
