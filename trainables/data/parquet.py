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
        from pyarrow import types

        paths = tuple(files(self.path))
        footers = [_footer(path) for path in paths]
        first: Any = None
        for path, footer in zip(paths, footers, strict=True):
            schema = footer.schema.to_arrow_schema()
            for name in (*self.inputs, self.target):
                if name not in schema.names:
                    raise ConflictError("data", [f"{path} has no column {name!r}; it has {', '.join(schema.names)}"])
            kind = schema.field(self.target).type
            first = kind if first is None else first
            if self.classes is None and types.is_integer(kind) != types.is_integer(first):
                said = (
                    f"{path} has {kind} in column {self.target!r}, the files before it {first}; write all of one type"
                )
                raise ConflictError("data", [said])
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
        for number in numbers:
            yield self.tensors(_table(self.paths[number], self.columns), number)

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
            return self._numbered(rows, column)
        if types.is_integer(column.type):
            return torch.from_numpy(column.to_numpy().astype("int64"))
        return torch.from_numpy(rows.numbers(self.target).copy())[:, None]

    def _numbered(self, rows: Rows, column: Any) -> Tensor:
        """Texts as the numbers of their classes."""
        import pyarrow
        import pyarrow.compute
        import torch

        classes = pyarrow.array(self.classes or (), pyarrow.string())
        found = pyarrow.compute.index_in(column.cast(pyarrow.string()), classes)
        if found.null_count:
            row = pyarrow.compute.index(found.is_null(), True).as_py()
            raise rows.wrong(
                row,
                self.target,
                f"holds {column[row].as_py()!r}, none of the classes {', '.join(self.classes or ())}",
            )
        return torch.from_numpy(found.to_numpy().astype("int64"))

    def _largest(self, number: int) -> Tensor:
        """A target of the shard that has the largest class; any one where they are no classes."""
        import torch
        from pyarrow import types

        footer = _footer(self.paths[number])
        place = footer.schema.to_arrow_schema().get_field_index(self.target)
        if types.is_integer(footer.schema.to_arrow_schema().field(place).type):
            parts = [footer.row_group(group).column(place).statistics for group in range(footer.num_row_groups)]
            if all(part is not None and part.has_min_max for part in parts):
                return torch.tensor(max(part.max for part in parts))
        table = _table(self.paths[number], [self.target])
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


def _table(path: str, columns: Sequence[str]) -> Any:
    """The rows of a Parquet file, which may have changed since its footer was read."""
    import pyarrow
    from pyarrow import parquet

    try:
        return parquet.read_table(path, columns=list(columns))
    except FileNotFoundError:
        raise ConflictError("data", [f"{path} is gone; put it back, or start the run anew without it"]) from None
    except (pyarrow.ArrowException, OSError) as error:
        raise ConflictError("data", [f"{path} cannot be read: {error}; write it anew, or take it out"]) from error
