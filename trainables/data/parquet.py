"""A folder of Parquet files as shards."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from trainables.data.files import Rows, files
from trainables.errors import ConflictError

if TYPE_CHECKING:
    from torch import Tensor

    from trainables.task import Tensors


@dataclass(frozen=True, kw_only=True, slots=True)
class ParquetShards:
    """Every file of the folder ``path`` is a shard, in the order of their names.

    Samples are the columns ``inputs`` as numbers, [N, F], and ``target``: whole numbers are classes as they are, texts where
    ``classes`` lists them, other numbers are met as [N, 1]. Raises ConflictError, naming file, row and column, for what cannot be
    read so: of the files at once, of their rows when a shard is read.
    """

    path: str
    inputs: tuple[str, ...]
    target: str
    classes: tuple[str, ...] | None = None
    paths: tuple[str, ...] = field(init=False, repr=False)
    counts: Sequence[int] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        paths = tuple(files(self.path))
        footers = [_footer(path) for path in paths]
        for path, footer in zip(paths, footers, strict=True):
            names = footer.schema.to_arrow_schema().names
            for name in (*self.inputs, self.target):
                if name not in names:
                    raise ConflictError("data", [f"{path} has no column {name!r}; it has {', '.join(names)}"])
        object.__setattr__(self, "paths", paths)
        object.__setattr__(self, "counts", tuple(footer.num_rows for footer in footers))

    @property
    def columns(self) -> list[str]:
        """All that are read."""
        return [*self.inputs, self.target]

    def targets(self) -> Tensor:
        """The largest class of each shard, from its footer, or from its column where the footer does not tell."""
        import torch

        if self.classes is not None:
            return torch.arange(len(self.classes))
        found = [self._largest(number) for number in range(len(self.paths)) if self.counts[number]]
        return torch.stack(found)

    def read(self, numbers: Sequence[int]) -> Iterator[Tensors]:
        """These shards, read here one after the other."""
        from pyarrow import parquet

        for number in numbers:
            yield self.tensors(parquet.read_table(self.paths[number], columns=self.columns), number)

    def tensors(self, table: Any, number: int) -> Tensors:
        """The rows of shard ``number`` as tensors. Raises ConflictError for cells that are no numbers, and unknown classes."""
        import numpy as np
        import torch

        rows = Rows(table=table, files=[(self.paths[number], len(table))])
        inputs = np.stack([rows.numbers(name) for name in self.inputs], axis=1)
        return torch.from_numpy(inputs), self._met(rows)

    def _met(self, rows: Rows) -> Tensor:
        """The target column."""
        import torch
        from pyarrow import types

        column = rows.filled(self.target)
        if self.classes is not None:
            known = {name: number for number, name in enumerate(self.classes)}
            for row, value in enumerate(column.to_pylist()):
                if value not in known:
                    raise rows.wrong(
                        row, self.target, f"holds {value!r}, none of the classes {', '.join(self.classes)}"
                    )
            return torch.tensor([known[value] for value in column.to_pylist()])
        if types.is_integer(column.type):
            return torch.from_numpy(column.to_numpy().astype("int64"))
        return torch.from_numpy(rows.numbers(self.target).copy())[:, None]

    def _largest(self, number: int) -> Tensor:
        """A target of the shard that has the largest class; any one where they are no classes."""
        import torch
        from pyarrow import parquet, types

        footer = _footer(self.paths[number])
        place = footer.schema.to_arrow_schema().get_field_index(self.target)
        if types.is_integer(footer.schema.to_arrow_schema().field(place).type):
            parts = [footer.row_group(group).column(place).statistics for group in range(footer.num_row_groups)]
            if all(part is not None and part.has_min_max for part in parts):
                return torch.tensor(max(part.max for part in parts))
        table = parquet.read_table(self.paths[number], columns=[self.target])
        found = self._met(Rows(table=table, files=[(self.paths[number], len(table))]))
        return found.max() if found.ndim == 1 else found[0]


def _footer(path: str) -> Any:
    """What a Parquet file says of itself."""
    import pyarrow
    from pyarrow import parquet

    try:
        return parquet.read_metadata(path)
    except FileNotFoundError:
        raise ConflictError("data", [f"{path} does not exist"]) from None
    except (pyarrow.ArrowException, OSError) as error:
        raise ConflictError("data", [f"{path} is no Parquet file: {error}"]) from error
