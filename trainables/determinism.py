"""Deterministic algorithms: the same numbers from the same seed on a GPU too, or an error that names the operation that cannot."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"


@contextmanager
def deterministic(*, wanted: bool) -> Iterator[None]:
    """Run a block with torch's deterministic algorithms alone, where ``wanted``; the process's switches are put back.

    On a CPU runs are the same bit for bit without it, but for operations that torch itself calls nondeterministic: those raise
    RuntimeError inside the block.
    """
    import torch

    if not wanted:
        yield
        return
    before = (
        torch.are_deterministic_algorithms_enabled(),
        torch.backends.cudnn.deterministic,
        torch.backends.cudnn.benchmark,
    )
    # cuBLAS reads it when it is first used; later it is too late, and torch then says so by itself.
    os.environ.setdefault(WORKSPACE, ":4096:8")
    _switch(True, True, False)
    try:
        yield
    finally:
        _switch(*before)


def _switch(algorithms: bool, cudnn: bool, benchmark: bool) -> None:
    import torch

    torch.use_deterministic_algorithms(algorithms)
    torch.backends.cudnn.deterministic = cudnn
    torch.backends.cudnn.benchmark = benchmark
