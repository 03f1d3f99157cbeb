"""Gradient clipping."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from torch import Tensor, nn


@runtime_checkable
class Clip(Protocol):
    """A part that limits the gradients of a step, once they are whole and unscaled."""

    def __call__(self, parameters: Sequence[nn.Parameter]) -> Tensor:
        """Clip in place; the L2 norm of all gradients before comes back, as a scalar on the parameters' device."""
        ...

    def conflicts(self) -> Iterator[str]:
        """What is wrong with the settings."""
        ...


@dataclass(frozen=True, slots=True)
class ClipNorm:
    """Scale all gradients together so that their L2 norm is at most ``norm`` (Pascanu et al., 2013).

    ``ClipNorm(math.inf)`` clips nothing and has the norm logged.
    """

    norm: float

    def __call__(self, parameters: Sequence[nn.Parameter]) -> Tensor:
        """Clip in place; the norm before comes back."""
        from torch.nn.utils import clip_grad_norm_

        # torch takes one call for all tensors on a GPU by itself, on a CPU when told.
        return clip_grad_norm_(parameters, self.norm, foreach=_together(parameters))

    def conflicts(self) -> Iterator[str]:
        """What is wrong with the settings."""
        if not self.norm > 0:
            yield f"ClipNorm {self.norm} must be above 0; 1.0 is usual, clip=None switches it off"


@dataclass(frozen=True, slots=True)
class ClipValue:
    """Limit each element of a gradient to between ``-limit`` and ``limit``; the gradient's direction may change."""

    limit: float

    def __call__(self, parameters: Sequence[nn.Parameter]) -> Tensor:
        """Clip in place; the norm before comes back."""
        from torch.nn.utils import clip_grad_value_, get_total_norm

        together = _together(parameters)
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        norm = get_total_norm(gradients, foreach=together)
        clip_grad_value_(parameters, self.limit, foreach=together)
        return norm

    def conflicts(self) -> Iterator[str]:
        """What is wrong with the settings."""
        if not self.limit > 0:
            yield f"ClipValue {self.limit} must be above 0; 0.5 is usual, clip=None switches it off"


@dataclass(frozen=True, slots=True)
class Clips:
    """Two clips in this order, such as ``Clips(ClipValue(0.5), ClipNorm(1.0))``; each may hold two again."""

    first: Clip
    then: Clip

    def __call__(self, parameters: Sequence[nn.Parameter]) -> Tensor:
        """Clip in place; the norm before either comes back."""
        norm = self.first(parameters)
        self.then(parameters)
        return norm

    def conflicts(self) -> Iterator[str]:
        """What is wrong with the two."""
        for part in (self.first, self.then):
            if isinstance(part, Clip):
                yield from part.conflicts()
            else:
                yield f"Clips holds {part!r}, a {type(part).__name__}; write Clips(ClipValue(0.5), ClipNorm(1.0))"


def _together(parameters: Sequence[nn.Parameter]) -> bool | None:
    """Whether all tensors are taken at once; None leaves it to torch."""
    return True if parameters[0].device.type == "cpu" else None
