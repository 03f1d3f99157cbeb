"""Batches of in-memory tensors by index."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from trainables.run import Run
    from trainables.task import Tensors

    Through = Callable[[Run, Iterator[Tensors]], Iterator[Tensors]]
    """What an epoch's training batches go through on their way into the loop: a generator that hands on each, in order."""

BLOCK = 8192
"""Samples gathered at once: large enough that a batch costs a view, small enough that no second copy of the set is held."""


def shuffled(tensors: Tensors, size: int, generator: torch.Generator) -> Iterator[Tensors]:
    """Batches of ``size`` samples in an order drawn from ``generator``; the last holds what is left over."""
    import torch

    return picked(tensors, size, torch.randperm(len(tensors[0]), generator=generator))


def picked(tensors: Tensors, size: int, order: torch.Tensor | Iterable[torch.Tensor]) -> Iterator[Tensors]:
    """Batches of ``size`` samples in the order of their indices, [N] or in blocks; the last holds what is left over."""
    block = size * max(1, BLOCK // size)
    for chosen in regrouped(order, block):
        there = chosen.to(tensors[0].device)
        yield from split(tuple(tensor.index_select(0, there) for tensor in tensors), size)


def regrouped(order: torch.Tensor | Iterable[torch.Tensor], size: int) -> Iterator[torch.Tensor]:
    """Indices [N], or blocks of them, in groups of ``size``; the last holds what is left over. No more than a block is held."""
    import torch

    left: list[torch.Tensor] = []
    for block in [order] if isinstance(order, torch.Tensor) else order:
        missing = size - sum(map(len, left))
        if len(block) < missing:
            left.append(block)
            continue
        yield torch.cat([*left, block[:missing]]) if left else block[:missing]
        rest = block[missing:]
        full = len(rest) - len(rest) % size
        yield from rest[:full].split(size) if full else ()
        left = [rest[full:]] if full < len(rest) else []
    if any(map(len, left)):
        yield torch.cat(left)


def beyond(order: torch.Tensor | Iterable[torch.Tensor], count: int) -> torch.Tensor | Iterator[torch.Tensor]:
    """The indices [N], or blocks of them, without the first ``count``."""
    import torch

    return order[count:] if isinstance(order, torch.Tensor) else _beyond(order, count)


def _beyond(blocks: Iterable[torch.Tensor], count: int) -> Iterator[torch.Tensor]:
    for block in blocks:
        if count < len(block):
            yield block[count:]
        count = max(0, count - len(block))


def unchanged(_: Run, batches: Iterator[Tensors]) -> Iterator[Tensors]:
    """The batches as they are."""
    return batches


def split(tensors: Tensors, size: int) -> Iterator[Tensors]:
    """Views of ``size`` samples in the order in which they lie; the last holds what is left over."""
    return zip(*(tensor.split(size) for tensor in tensors), strict=True)  # type: ignore[no-untyped-call]


def parts(batch: Tensors, limit: int) -> Iterator[Tensors]:
    """Views of a batch in as few parts as hold at most ``limit`` samples each, of sizes that differ by one at most.

    Even parts, so that no micro-batch is left with a single sample, which BatchNorm could not use.
    """
    samples = len(batch[-1])
    count = -(-samples // limit)
    if count == 1:
        return iter((batch,))
    least, larger = divmod(samples, count)
    sizes = [least + 1] * larger + [least] * (count - larger)
    return zip(*(tensor.split_with_sizes(sizes) for tensor in batch), strict=True)
