"""Augmentation: training batches are changed at random before the model sees them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    import torch

    from trainables.task import Tensors


@runtime_checkable
class Augmentation(Protocol):
    """A part that changes a training batch; a task's own works as well as those here."""

    def __call__(self, batch: Tensors, generator: torch.Generator) -> Tensors:
        """A changed copy of (input..., target), [B, ...] each; random choices come from the CPU ``generator`` alone."""
        ...

    def conflicts(self) -> Iterator[str]:
        """What is wrong with the settings."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Noise:
    """Gaussian noise of standard deviation ``std``, in the input's units, on every value of the first input."""

    std: float = 0.1

    def __call__(self, batch: Tensors, generator: torch.Generator) -> Tensors:
        """The noisy batch."""
        import torch

        first, *rest = batch
        noise = torch.randn(first.shape, generator=generator, dtype=first.dtype).to(first.device)
        return (first + self.std * noise, *rest)

    def conflicts(self) -> Iterator[str]:
        """What is wrong with the settings."""
        if not self.std > 0:
            yield f"Noise std {self.std} must be above 0; augment=None switches it off"


@dataclass(frozen=True, kw_only=True, slots=True)
class Mirror:
    """Half of the samples, or the ``share`` given, with the first input flipped along ``dim`` of [B, ...]; the target is kept.

    For targets that a mirror changes too (left and right of a controller) write an augmentation that changes both.
    """

    dim: int = -1
    share: float = 0.5

    def __call__(self, batch: Tensors, generator: torch.Generator) -> Tensors:
        """The batch with some of its samples flipped."""
        import torch

        first, *rest = batch
        chosen = (torch.rand(len(first), generator=generator) < self.share).to(first.device)
        return (torch.where(chosen.view(-1, *[1] * (first.ndim - 1)), first.flip(self.dim), first), *rest)

    def conflicts(self) -> Iterator[str]:
        """What is wrong with the settings."""
        if self.dim == 0:
            yield "Mirror dim 0 is the batch; -1 flips along the last dimension"
        if not 0 < self.share <= 1:
            yield f"Mirror share {self.share} must lie above 0 and up to 1; augment=None switches it off"


@dataclass(frozen=True, kw_only=True, slots=True)
class FrameDelay:
    """Sequences [B, T, ...] seen late: each sample's first input is moved back by 0 to ``frames`` steps, its first frame repeated.

    The target stays where it is, so a model learns to act on what it saw a few frames ago.
    """

    frames: int = 3

    def __call__(self, batch: Tensors, generator: torch.Generator) -> Tensors:
        """The batch with every sample at a delay of its own."""
        import torch

        first, *rest = batch
        delay = torch.randint(0, self.frames + 1, (len(first), 1), generator=generator)
        at = (torch.arange(first.shape[1]) - delay).clamp(min=0).to(first.device)
        return (first[torch.arange(len(first), device=first.device)[:, None], at], *rest)

    def conflicts(self) -> Iterator[str]:
        """What is wrong with the settings."""
        if not isinstance(self.frames, int) or self.frames < 1:
            yield f"FrameDelay frames {self.frames} must be a whole number from 1; augment=None switches it off"


@dataclass(frozen=True, slots=True)
class Augmentations:
    """Two augmentations in this order; each may hold two again."""

    first: Augmentation
    then: Augmentation

    def __call__(self, batch: Tensors, generator: torch.Generator) -> Tensors:
        """The batch changed by both."""
        return self.then(self.first(batch, generator), generator)

    def conflicts(self) -> Iterator[str]:
        """What is wrong with the two."""
        for part in (self.first, self.then):
            if isinstance(part, Augmentation):
                yield from part.conflicts()
            else:
                yield f"Augmentations holds {part!r}, a {type(part).__name__}; write Augmentations(Mirror(), Noise(std=0.1))"


def augmented(
    batches: Iterable[Tensors], augment: Augmentation | None, generator: torch.Generator
) -> Iterator[Tensors]:
    """The batches as ``augment`` changes them, each drawn from ``generator`` in turn; None leaves them as they are."""
    for batch in batches:
        yield augment(batch, generator) if augment is not None else batch
