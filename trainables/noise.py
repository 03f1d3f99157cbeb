"""Gradient noise, annealed over the run."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trainables.seeds import derived

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, kw_only=True, slots=True)
class GradientNoise:
    """Normal noise of variance ``eta`` / (1 + t)^``gamma`` added to the gradient of step t, from 0 (Neelakantan et al., 2015).

    The authors tried ``eta`` 0.01, 0.3 and 1.0. Added after clipping, or the clip would take it for gradient.
    """

    eta: float = 0.01
    gamma: float = 0.55

    def __call__(self, parameters: Sequence[nn.Parameter], step: int, seed: int) -> None:
        """Add the noise of this step in place; parameters without a gradient are passed over, all must lie on one device.

        What is drawn follows from ``seed``, ``step`` and the parameters' shapes alone: a resumed run draws what the undisturbed one
        drew, and all workers draw the same. A GPU draws other numbers than a CPU.
        """
        import torch

        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        if not gradients:
            return
        first = gradients[0]
        source = torch.Generator(first.device).manual_seed(derived("noise", seed, step))
        # Drawn at one go, since a kernel for each parameter would cost more than the numbers do.
        count = sum(gradient.numel() for gradient in gradients)
        drawn = torch.randn(count, generator=source, device=first.device, dtype=first.dtype)
        parts = drawn.split([gradient.numel() for gradient in gradients])  # type: ignore[no-untyped-call]
        shaped = [part.view(gradient.shape) for part, gradient in zip(parts, gradients, strict=True)]
        torch._foreach_add_(gradients, shaped, alpha=self.deviation(step))

    def deviation(self, step: int) -> float:
        """The standard deviation at this step, from 0."""
        return math.sqrt(self.eta / (1 + step) ** self.gamma)

    def conflicts(self) -> Iterator[str]:
        """What is wrong with the settings."""
        if not 0 < self.eta < math.inf:
            yield f"GradientNoise eta {self.eta} must be above 0 and finite; 0.01 is usual, noise=None switches it off"
        if not 0 <= self.gamma < math.inf:
            yield f"GradientNoise gamma {self.gamma} must not be negative, and finite; 0.55 is usual, 0 keeps the noise up"
