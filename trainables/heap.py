"""Memory as it costs least: what is freed is kept for the next step, and what stays is not looked through again and again."""

from __future__ import annotations

import ctypes
import gc
import os
from functools import cache

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # of <malloc.h>

HELD_BYTES = 1 << 30
"""Free memory at the heap's end from which glibc returns it to the kernel."""

SPARE_BYTES = 256 << 20
"""What a process may hold free when another trial begins; less is sooner used again than asked for anew."""

SETTINGS = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_MAX_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES")
"""Where users say in the environment what glibc is to do."""


@cache
def hold() -> bool:
    """Have the C library keep what is freed, and take large blocks from it too: True where it does, once for the process.

    The tensors of a step are freed at its end. By default glibc hands large ones back to the kernel, which clears every page when
    the next step asks for it: up to a third of a convolution's step on a processor. Nothing is changed where ``SETTINGS`` are set,
    or where the library is not glibc.
    """
    library = _glibc()
    if library is None or any(name in os.environ for name in SETTINGS):
        return False
    return bool(library.mallopt(_MMAP_MAX, 0) and library.mallopt(_TRIM_THRESHOLD, HELD_BYTES))


def give_back() -> None:
    """Return to the kernel what is free, where that is more than ``SPARE_BYTES``; nothing where nothing is held."""
    library = _glibc()
    if library is not None and hold() and library.mallinfo2().fordblks > SPARE_BYTES:
        library.malloc_trim(0)


@cache
def settle() -> None:
    """Have Python's collector pass over what is there now, once for the process: modules above all, which stay as long as it does.

    Looking through those of torch and Ray takes a fifth of a second each time. It is for a process that has trained nothing yet:
    cycles that are garbage now are kept too.
    """
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
