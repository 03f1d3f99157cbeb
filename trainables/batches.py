"""Batches of in-memory tensors by index."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from trainables.task import Tensors

BLOCK = 8192
"""Samples gathered at once: large enough that a batch costs a view, small enough that no second copy of the set is held."""


def shuffled(tensors: Tensors, size: int, generator: torch.Generator) -> Iterator[Tensors]:
    """Batches of ``size`` samples in an order drawn from ``generator``; the last holds what is left over."""
    import torch

    return picked(tensors, size, torch.randperm(len(tensors[0]), generator=generator))


def picked(tensors: Tensors, size: int, order: torch.Tensor) -> Iterator[Tensors]:
    """Batches of ``size`` samples in the order of their indices, [N]; the last holds what is left over."""
    order = order.to(tensors[0].device)
    block = size * max(1, BLOCK // size)
    for chosen in order.split(block):  # type: ignore[no-untyped-call]
        yield from split(tuple(tensor.index_select(0, chosen) for tensor in tensors), size)


def split(tensors: Tensors, size: int) -> Iterator[Tensors]:
    """Views of ``size`` samples in the order in which they lie; the last holds what is left over."""
    return zip(*(tensor.split(size) for tensor in tensors), strict=True)  # type: ignore[no-untyped-call]


def parts(batch: Tensors, limit: int) -> Iterator[Tensors]:
    """Views of a batch in as few parts as hold at most ``limit`` samples each, of sizes that differ by one at most.

    Even parts, so that no micro-batch is left with a single sample, which BatchNorm could not use.
    """
    count = -(-len(batch[-1]) // limit)
    if count == 1:
        return iter((batch,))
    return zip(*(tensor.tensor_split(count) for tensor in batch), strict=True)
