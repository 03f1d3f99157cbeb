"""The residual connection."""

from __future__ import annotations

from torch import Tensor, nn


class Residual(nn.Module):
    """skip(x) + body(x) for x [B, ...]; the skip is the identity unless the body changes the shape (He et al., 2016)."""

    def __init__(self, body: nn.Module, skip: nn.Module | None = None) -> None:
        super().__init__()
        self.body = body
        self.skip = skip if skip is not None else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.skip(x) + self.body(x)
        return out
