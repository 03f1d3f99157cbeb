"""A set on disk, for data larger than the memory."""

from __future__ import annotations

import json
import math
import mmap
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainables.errors import ConflictError

if TYPE_CHECKING:
    import numpy as np
    import torch

    from trainables.task import Tensors

FORMAT = 1
"""Version of the layout: ``set.json``, and one file of plain values a column."""

INDEX = "set.json"


@dataclass(frozen=True, slots=True, eq=False)
class Mapped:
    """The set that ``write`` has put into ``folder``; samples are read as they are asked for, and nothing else is held.

    Random samples come through a memory map without read-ahead, whose pages the system drops when memory is short; samples in
    order are read through the file. Raises ConflictError, naming the folder, for one that holds no whole set.
    """

    folder: Path
    samples: int = field(init=False)
    columns: tuple[_Column, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "folder", Path(self.folder))
        try:
            described = json.loads((self.folder / INDEX).read_text())
            if described["format"] != FORMAT:
                raise _wrong(
                    self.folder, f"has format {described['format']}, this version reads {FORMAT}; write it anew"
                )
            samples = described["samples"]
            columns = tuple(
                _Column.opened(self.folder / f"{number}.bin", column["type"], tuple(column["shape"]), samples)
                for number, column in enumerate(described["columns"])
            )
        except (FileNotFoundError, NotADirectoryError):
            raise _wrong(self.folder, f"holds no {INDEX}; write the set there by trainables.data.write") from None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise _wrong(self.folder, f"has a damaged {INDEX} ({error}); delete the folder and write it anew") from None
        object.__setattr__(self, "samples", samples)
        object.__setattr__(self, "columns", columns)

    def __reduce__(self) -> tuple[Any, ...]:
        return Mapped, (
            self.folder,
        )  # another process maps the files itself; a pickle of the maps would hold all values

    def targets(self) -> torch.Tensor:
        """All of them, in memory."""
        return self.columns[-1].between(0, self.samples)

    def take(self, rows: torch.Tensor) -> Tensors:
        """These samples, copied out of the map."""
        return tuple(column.at(rows) for column in self.columns)

    def in_order(self, begin: int, end: int, size: int) -> Iterator[Tensors]:
        """Batches read through the files."""
        for start in range(begin, end, size):
            yield tuple(column.between(start, min(start + size, end)) for column in self.columns)


@dataclass(frozen=True, slots=True, eq=False)
class _Column:
    """One tensor of the set: its file, and a map of it as numbers that numpy has."""

    path: Path
    type: torch.dtype
    values: np.ndarray[Any, Any]

    @classmethod
    def opened(cls, path: Path, name: str, shape: tuple[int, ...], samples: int) -> _Column:
        """Map a file whose size must be that of its samples. Raises ConflictError for another one."""
        import numpy as np
        import torch

        kind: torch.dtype = getattr(torch, name)
        plain = _plain(kind)
        size, expected = path.stat().st_size if path.exists() else 0, samples * math.prod(shape) * plain.itemsize
        if size != expected:
            raise _wrong(path, f"has {size} bytes where {expected} belong; delete the folder and write the set anew")
        with path.open("rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
        mapped.madvise(mmap.MADV_RANDOM)  # else each sample far from the others brings 128 kB along
        return cls(path, kind, np.frombuffer(mapped, plain).reshape(samples, *shape))

    def at(self, rows: torch.Tensor) -> torch.Tensor:
        """Rows by number; numpy lets other threads run meanwhile."""
        import numpy as np
        import torch

        return torch.from_numpy(np.take(self.values, rows.numpy(), axis=0)).view(self.type)

    def between(self, begin: int, end: int) -> torch.Tensor:
        """Rows one after the other."""
        import numpy as np
        import torch

        shape = self.values.shape[1:]
        width = math.prod(shape)
        offset = begin * width * self.values.itemsize
        read = np.fromfile(self.path, self.values.dtype, (end - begin) * width, offset=offset)
        return torch.from_numpy(read.reshape(end - begin, *shape)).view(self.type)


def write(folder: Path, batches: Iterable[Tensors]) -> Mapped:
    """Put the samples of the batches, (input…, target) each, on disk one after the other, in memory of one batch.

    The folder appears once all is written and synced. A set that is there already, or by then since another process was faster, is
    left as it is and opened. Raises ConflictError for a place where something else is, and for batches without a sample, of tensors
    that differ in length, or that differ in types or shapes.
    """
    folder = Path(folder)
    if (folder / INDEX).exists():
        return Mapped(folder)
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise _wrong(folder, f"is there already and holds no {INDEX}; name a folder that is new or empty")
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        described = _written(draft, folder, batches)
        with (draft / INDEX).open("w") as file:
            json.dump(described, file)
            _sync(file.fileno(), file.flush)
        draft.chmod(0o755)
        try:
            draft.rename(folder)
        except OSError:
            if not (folder / INDEX).exists():
                raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return Mapped(folder)


def _written(draft: Path, folder: Path, batches: Iterable[Tensors]) -> dict[str, Any]:
    """Write the columns; what the index says of them."""
    columns: list[dict[str, Any]] = []
    samples = 0
    with ExitStack() as stack:
        files: list[Any] = []
        for batch in batches:
            kinds = [
                {"type": str(tensor.dtype).removeprefix("torch."), "shape": [*tensor.shape[1:]]} for tensor in batch
            ]
            if not columns:
                columns = kinds
                files = [stack.enter_context((draft / f"{place}.bin").open("wb")) for place in range(len(columns))]
            if kinds != columns:
                raise _wrong(folder, f"cannot be written: a batch holds {kinds}, those before it {columns}")
            lengths = {len(tensor) for tensor in batch}
            if len(lengths) > 1:
                raise _wrong(folder, f"cannot be written: a batch holds tensors of {sorted(lengths)} samples")
            if any(0 in tensor.shape[1:] for tensor in batch):
                raise _wrong(folder, f"cannot be written: a batch holds {kinds}, of which one has no values")
            for tensor, file in zip(batch, files, strict=True):
                tensor.detach().cpu().contiguous().view(_stored(tensor.dtype)).numpy().tofile(file)
            samples += len(batch[-1])
        if not samples:
            raise _wrong(folder, "cannot be written: there is no sample; check what the batches are made of")
        for file in files:
            _sync(file.fileno(), file.flush)
    return {"format": FORMAT, "samples": samples, "columns": columns}


def _sync(descriptor: int, flush: Any) -> None:
    flush()
    os.fsync(descriptor)


def _stored(kind: torch.dtype) -> torch.dtype:
    """The type under which numpy knows the same bytes."""
    import torch

    return torch.int16 if kind == torch.bfloat16 else kind


def _plain(kind: torch.dtype) -> np.dtype[Any]:
    import torch

    return torch.empty(0, dtype=_stored(kind)).numpy().dtype


def _wrong(path: Path, what: str) -> ConflictError:
    return ConflictError("data", [f"{path} {what}"])
