"""Precision: what the parameters are stored in, and what the forward pass computes in."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import torch


class Precision(Protocol):
    """A part that says which type the parameters have and puts the forward pass under it."""

    def dtype(self) -> torch.dtype:
        """The type of parameters and floating inputs."""
        ...

    def autocast(self, device: torch.device) -> AbstractContextManager[object]:
        """The context of forward pass and loss; entered once a micro-batch."""
        ...

    def unsupported(self, device: torch.device) -> str | None:
        """Why this device cannot do it and what can be done instead, or None."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class FP32:
    """Single precision throughout."""

    def dtype(self) -> torch.dtype:
        """float32."""
        import torch

        return torch.float32

    def autocast(self, device: torch.device) -> AbstractContextManager[object]:  # noqa: ARG002
        """Nothing to change."""
        return nullcontext()

    def unsupported(self, device: torch.device) -> str | None:  # noqa: ARG002
        """Every device can."""
        return None


@dataclass(frozen=True, kw_only=True, slots=True)
class FP64:
    """Double precision throughout: slow, for checks of equality."""

    def dtype(self) -> torch.dtype:
        """float64."""
        import torch

        return torch.float64

    def autocast(self, device: torch.device) -> AbstractContextManager[object]:  # noqa: ARG002
        """Nothing to change."""
        return nullcontext()

    def unsupported(self, device: torch.device) -> str | None:
        """Apple's GPUs cannot."""
        return "FP64 is not there on mps; set precision=FP32()" if device.type == "mps" else None


@dataclass(frozen=True, kw_only=True, slots=True)
class BF16:
    """Parameters in single precision, forward pass by autocast in bfloat16; no loss scaling is needed at its range."""

    def dtype(self) -> torch.dtype:
        """float32: the parameters' own type."""
        import torch

        return torch.float32

    def autocast(self, device: torch.device) -> AbstractContextManager[object]:
        """Autocast to bfloat16."""
        import torch

        # One micro-batch a context: a cache of casted weights would only have to be cleared again.
        return torch.autocast(device.type, dtype=torch.bfloat16)

    def unsupported(self, device: torch.device) -> str | None:
        """GPUs before compute capability 8.0 emulate it, slower than single precision."""
        import torch

        if device.type == "cuda" and torch.cuda.get_device_capability(device) < (8, 0):
            return (
                f"BF16 needs a GPU of compute capability 8.0, {torch.cuda.get_device_name(device)} has less; use FP32()"
            )
        return None
