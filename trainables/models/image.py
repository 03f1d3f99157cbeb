"""Reading samples as images."""

from __future__ import annotations

from torch import Tensor, nn


class Image(nn.Module):
    """[B, C, H, W], [B, H, W] or flat [B, C H W], row by row, as [B, C, H, W]."""

    def __init__(self, channels: int, height: int, width: int) -> None:
        super().__init__()
        self.size = (channels, height, width)

    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(len(x), *self.size)

    def extra_repr(self) -> str:
        return " x ".join(map(str, self.size))
