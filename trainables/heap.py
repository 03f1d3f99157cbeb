"""Memory as it costs least: what is freed is kept for the next step, and what stays is not looked through again and again."""

from __future__ import annotations

import ctypes
import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4  # of <malloc.h>

LARGE_BYTES, BLOCKS = 1 << 17, 1 << 16
"""Blocks from this size on glibc takes from the kernel one by one, and so many of them at most: its own first settings."""

HELD_BYTES = 1 << 30
"""Free memory at the heap's end from which glibc returns it to the kernel."""

SPARE_BYTES = 32 << 20
"""What a process may hold free when a trial begins: it counts in the most that the trial is said to have held."""

SETTINGS = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_MAX_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES")
"""Where users say in the environment what glibc is to do."""


@dataclass(slots=True)
class _Heap:
    """Whether this process holds what is freed, None where nobody has asked, and what was free when it was last trimmed."""

    held: bool | None = None
    free: int = 0


_heap = _Heap()


def hold() -> bool:
    """Have the C library keep what is freed, and take large blocks from it too: True where it does, from then on.

    The tensors of a step are freed at its end. By default glibc hands large ones back to the kernel, which clears every page when
    the next step asks for it: up to half of a convolution's step on a processor. Nothing is changed where ``SETTINGS`` are set,
    or where the library is not glibc.
    """
    if _heap.held is None:
        library = _glibc()
        if library is None or any(name in os.environ for name in SETTINGS):
            _heap.held = False
        else:
            _heap.held = bool(library.mallopt(_MMAP_MAX, 0) and library.mallopt(_TRIM_THRESHOLD, HELD_BYTES))
    return _heap.held


@contextmanager
def exact() -> Iterator[None]:
    """Hold nothing within: each large block is taken from the kernel, and given back as it is freed.

    What is held lies in pieces, into which a larger block may not fit: how much a step can have is then a matter of luck.
    """
    library = _glibc()
    if library is None or not hold():
        yield
        return
    library.mallopt(_MMAP_THRESHOLD, LARGE_BYTES)
    library.mallopt(_MMAP_MAX, BLOCKS)
    try:
        yield
    finally:
        library.mallopt(_MMAP_MAX, 0)


def give_back() -> None:
    """Return to the kernel what is free, where that has grown by more than ``SPARE_BYTES``; nothing where nothing is held.

    Pages between blocks that are in use are returned too, and go on being counted as free.
    """
    library = _glibc()
    if library is None or not _heap.held:
        return
    free = library.mallinfo2().fordblks
    if free > _heap.free + SPARE_BYTES:
        library.malloc_trim(0)
        _heap.free = library.mallinfo2().fordblks
    else:
        _heap.free = min(_heap.free, free)


@cache
def settle() -> None:
    """Have Python's collector pass over what is there now, once for the process: modules above all, which stay as long as it does.

    Looking through those of torch and Ray takes a fifth of a second each time. What is garbage goes before.
    """
    gc.collect()
    gc.freeze()


class _Info(ctypes.Structure):
    """``struct mallinfo2``; ``fordblks`` is what is free, in bytes."""

    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in (
            "arena",
            "ordblks",
            "smblks",
            "hblks",
            "hblkhd",
            "usmblks",
            "fsmblks",
            "uordblks",
            "fordblks",
            "keepcost",
        )
    )


@cache
def _glibc() -> ctypes.CDLL | None:
    """The C library, where it is a glibc of 2.33 or later."""
    library = ctypes.CDLL(None)
    if not all(hasattr(library, name) for name in ("gnu_get_libc_version", "mallopt", "malloc_trim", "mallinfo2")):
        return None
    library.mallinfo2.restype = _Info
    return library
