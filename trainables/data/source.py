"""Sets of samples that are not tensors on the device, and what the loop asks of any set."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Protocol, TypeAlias, runtime_checkable

from trainables.errors import ConflictError

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from typing_extensions import TypeIs

    Tensors: TypeAlias = tuple[Tensor, ...]


@runtime_checkable
class Source(Protocol):
    """Samples (input…, target) that lie elsewhere; what it hands out lies in the CPU's memory, in the types that are stored."""

    @property
    def samples(self) -> int:
        """How many there are."""
        ...

    def targets(self) -> Tensor:
        """Targets that tell how many outputs are needed, [n, ...]: all of them as they lie, or fewer with the largest class."""
        ...

    def in_order(self, begin: int, end: int, size: int) -> Iterator[Tensors]:
        """Batches of the samples from ``begin`` up to ``end`` in the order in which they lie."""
        ...


@runtime_checkable
class Indexed(Source, Protocol):
    """A source that can be asked for any samples in any order, from several threads at once."""

    def take(self, rows: Tensor) -> Tensors:
        """The samples with these numbers, [B] -> [B, ...] each."""
        ...


@runtime_checkable
class Streamed(Source, Protocol):
    """A source that is read from front to end, whose order is drawn shard by shard."""

    def stream(self, size: int, rank: int, workers: int, *seed: int) -> Iterator[Tensors]:
        """What worker ``rank`` has of the epoch's batches of ``size``, in the order that ``seed`` draws."""
        ...


if TYPE_CHECKING:
    Set: TypeAlias = tuple[Tensor, ...] | Indexed | Streamed
    """Tensors, which are moved to the device as a whole, or a source, of which only batches are."""


def resident(samples: Set) -> TypeIs[Tensors]:
    """True for plain tensors."""
    return isinstance(samples, tuple)


def count(samples: Set) -> int:
    """The number of samples."""
    return len(samples[-1]) if resident(samples) else samples.samples


def head(samples: Set, number: int) -> Tensors:
    """The first ``number`` samples, or all where there are fewer."""
    if resident(samples):
        return tuple(tensor[:number] for tensor in samples)
    return next(samples.in_order(0, min(number, samples.samples), number))


def targets(samples: Set) -> Tensor:
    """The targets that tell how many outputs are needed."""
    return samples[-1] if resident(samples) else samples.targets()


def every_target(samples: Set) -> Tensor:
    """The target of each sample, [N, ...]; a source that tells only some is read through."""
    found = targets(samples)
    return found if len(found) == count(samples) else by_sample(samples, _last)


def by_sample(samples: Set, function: Callable[[Tensors], Tensor], size: int = 8192) -> Tensor:
    """What ``function`` of (input…, target) gives for each sample, [N, ...]; of a source it is asked batch by batch."""
    import torch

    if resident(samples):
        return function(samples)
    return torch.cat([function(batch) for batch in samples.in_order(0, samples.samples, size)])


def chosen(samples: Set, rows: Tensor) -> Set:
    """The samples with these numbers, in this order. Raises ConflictError for a stream."""
    if resident(samples):
        return tuple(tensor[rows] for tensor in samples)
    from trainables.data.indexed import Chosen

    return Chosen(source=_indexed(samples), rows=rows)


def joined(first: Set, then: Set) -> Set:
    """The samples of both, one after the other. Raises ConflictError for a stream, and for tensors with a source."""
    import torch

    if resident(first) and resident(then):
        return tuple(torch.cat(pair) for pair in zip(first, then, strict=True))
    from trainables.data.indexed import Joined, indexed

    return Joined(first=_indexed(indexed(first)), then=_indexed(indexed(then)))


def moved(batch: Tensors, device: torch.device, dtype: torch.dtype) -> Tensors:
    """The tensors on this device, floating ones in this type."""
    return tuple(t.to(device=device, dtype=dtype if t.is_floating_point() else t.dtype) for t in batch)


def _last(samples: Tensors) -> Tensor:
    return samples[-1]


def _indexed(samples: Indexed | Streamed) -> Indexed:
    if isinstance(samples, Indexed):
        return samples
    raise ConflictError(
        "data",
        [
            f"{type(samples).__name__} is read from front to end and cannot be divided by sample; "
            "set split=None and give train and val shards of their own, or put it on disk by trainables.data.write"
        ],
    )
