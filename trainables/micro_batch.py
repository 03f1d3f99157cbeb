"""The micro-batch that fits: found by running out of memory, without losing anything."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Auto:
    """Start from ``first`` samples at a time (None: a worker's whole share of the batch) and halve whenever memory runs out.

    The step that ran out is taken again with the random numbers and buffers that it began with, so the result is the one that the
    smaller micro-batch gives from the start. Of several workers all halve together; their gradients then meet after the last
    micro-batch instead of during it, which a fixed ``micro_batch`` overlaps with the backward pass.
    """

    first: int | None = None

    def conflicts(self) -> Iterator[str]:
        """What is wrong with the settings."""
        if self.first is not None and (not isinstance(self.first, int) or self.first < 1):
            yield f"Auto first {self.first} must be a whole number from 1; None starts from the whole batch"


def out_of_memory(error: BaseException) -> bool:
    """True for what torch raises when a device or the computer has no memory left."""
    import torch

    said = str(error)
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and ("can't allocate memory" in said or "out of memory" in said)
    )


def release() -> None:
    """Give back what a failed step has left."""
    import torch

    gc.collect()
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.empty_cache()
