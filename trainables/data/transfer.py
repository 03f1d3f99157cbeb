"""Batches from the CPU's memory to the device."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from trainables.data.source import moved

if TYPE_CHECKING:
    import torch

    from trainables.task import Tensors


def pinned(batch: Tensors) -> Tensors:
    """The batch in memory that a GPU copies from by itself; done in the thread that made it."""
    return tuple(tensor.pin_memory() for tensor in batch)


def arriving(batches: Iterable[Tensors], device: torch.device, dtype: torch.dtype) -> Iterator[Tensors]:
    """The batches on the device, floating ones in this type, converted there.

    To a GPU they travel on a stream of their own: from pinned memory beside the step before, which is still being computed.
    """
    import torch

    if device.type != "cuda":
        yield from (moved(batch, device, dtype) for batch in batches)
        return
    beside = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    for batch in batches:
        with torch.cuda.stream(beside):
            there = tuple(tensor.to(device, non_blocking=True) for tensor in batch)
        current = torch.cuda.current_stream(device)
        current.wait_stream(beside)
        for tensor in there:
            tensor.record_stream(current)  # its memory is not given away before the step is through with it
        yield moved(there, device, dtype)
