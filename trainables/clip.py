"""Gradient clipping."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class ClipNorm:
    """Scale all gradients together so that their L2 norm is at most ``norm`` (Pascanu et al., 2013)."""

    norm: float

    def __call__(self, parameters: Sequence[nn.Parameter]) -> Tensor:
        """Clip in place; the norm before clipping comes back, as a scalar on the parameters' device."""
        from torch.nn.utils import clip_grad_norm_

        return clip_grad_norm_(parameters, self.norm)

    def conflicts(self) -> Iterator[str]:
        """What is wrong with the settings."""
        if not self.norm > 0:
            yield f"ClipNorm {self.norm} must be above 0; 1.0 is usual, clip=None switches it off"
