"""States on disk: written whole or not at all, checked when they are read."""

from __future__ import annotations

import errno
import io
import os
import secrets
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from trainables.keep import TEMPORARY
from trainables.micro_batch import out_of_memory


class DamagedError(ValueError):
    """A checkpoint is not what was written."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Size:
    """Bytes of a file, and what they would be without compression."""

    stored: int
    plain: int


def save(path: Path, state: Mapping[str, Any], *, compress: bool = False, before: Path | None = None) -> Size:
    """Write a state of tensors and plain values; what stood at ``path`` becomes ``before`` once the new one is whole.

    It is a file of torch's own, a ZIP archive that holds a checksum of every part, deflated with ``compress``: ``torch.load`` reads
    either. Raises OSError, naming path and way out, when it cannot be written; what stood there then still does.
    """
    with whole(path, before=before) as temporary:
        if not compress:
            with temporary.open("wb") as file:
                torch.save(dict(state), file)
            return Size(stored=temporary.stat().st_size, plain=temporary.stat().st_size)
        plain = io.BytesIO()
        torch.save(dict(state), plain)
        with (
            zipfile.ZipFile(plain) as archive,
            # Level 1: higher ones take several times as long for a hundredth more.
            zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as deflated,
        ):
            for part in archive.namelist():
                deflated.writestr(part, archive.read(part))
        return Size(stored=temporary.stat().st_size, plain=plain.tell())


def load(path: Path, device: str | torch.device = "cpu") -> dict[str, Any] | None:
    """The state, or None when there is none. Only tensors and plain values are unpickled, never code.

    Raises DamagedError, naming the file, when a checksum is wrong or it cannot be read otherwise, OSError when it may not be, and
    MemoryError, or torch's own, where there is no room for it.
    """
    if not path.exists():
        return None
    try:
        with zipfile.ZipFile(path) as archive:
            wrong = archive.testzip()
        if wrong is not None:
            raise ValueError(f"the checksum of {wrong} is wrong")
        state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
    except Exception as error:
        if not damage(error):
            raise
        raise DamagedError(f"{path} is damaged ({_first_line(error)})") from error
    return state


def damage(error: Exception) -> bool:
    """Whether what was raised while a file was read says that it is damaged: one that is would be written over.

    A file that may not be read, or not for now, and one that finds no memory, may be whole.
    """
    passing = (errno.EACCES, errno.EPERM, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ESTALE)
    return not (out_of_memory(error) or (isinstance(error, OSError) and error.errno in passing))


@contextmanager
def whole(path: Path, *, before: Path | None = None) -> Iterator[Path]:
    """A temporary file that takes the place of ``path`` once it is written and synced; nothing is left of one that fails.

    Its name is its own, so that a writer that was thought dead never writes into it. Raises OSError, naming path and way out.
    """
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(4)}{TEMPORARY}")
    try:
        with _explained(path):
            yield temporary
            _sync(temporary)
            if before is not None and path.exists():
                path.replace(before)
            temporary.replace(path)
            _sync_names(path.parent)
    finally:
        with suppress(OSError):  # what is wrong with the folder has been said
            temporary.unlink()


def made(folder: Path) -> None:
    """Make a folder where there is none. Raises OSError, naming it and the way out."""
    with _explained(folder):
        folder.mkdir(parents=True, exist_ok=True)


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """An OSError in it, or behind what is raised, names path and way out."""
    try:
        yield
    except Exception as error:
        fault = _fault(error)
        if fault is None:
            raise
        raise OSError(fault.errno, f"{path} cannot be written ({fault.strerror}); {_way_out(fault)}") from error


def _sync_names(folder: Path) -> None:
    """Wait until the names in a folder are on disk; some network file systems do that by themselves and refuse to be asked."""
    try:
        _sync(folder)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):
            raise


def _sync(path: Path) -> None:
    """Wait until a file is on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _fault(error: BaseException | None) -> OSError | None:
    """The OSError behind an error; torch's writer raises a RuntimeError of its own while it handles one."""
    while error is not None and not isinstance(error, OSError):
        error = error.__cause__ or error.__context__
    return error


def _way_out(fault: OSError) -> str:
    if fault.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return "make room there, or let the runs lie elsewhere; the run then goes on from the checkpoint before"
    if fault.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return "let this user write there, or let the runs lie elsewhere"
    return "look after the disk; the run then goes on from the checkpoint before"


def _first_line(error: Exception) -> str:
    said = str(error).strip().splitlines()
    return f"{type(error).__name__}: {said[0]}"[:200] if said else type(error).__name__
