"""What all sequence models have in common: reading, blocks, pooling, head."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor, nn

from trainables.models.settings import Pool


class SequenceNet(nn.Module):
    """Embed, blocks, norm, pool, head: [B, T, F] (or [B, T], or flat [B, T F] with ``steps`` = T) to [B, outputs].

    ``blocks`` are called one after the other with a single tensor; ``embed`` and ``norm`` may change how it lies.
    """

    def __init__(
        self,
        *,
        steps: int | None,
        embed: nn.Module,
        blocks: Iterable[nn.Module],
        norm: nn.Module,
        pool: Pool,
        head: nn.Linear,
    ) -> None:
        super().__init__()
        self.steps = steps
        self.embed = embed
        self.blocks = nn.ModuleList(blocks)
        self.norm = norm
        self.pool = pool
        self.head = head

    def forward(self, x: Tensor) -> Tensor:
        features = self.features(x)
        read = features[:, -1] if self.pool == "last" else features.mean(dim=1)
        out: Tensor = self.head(read)
        return out

    def features(self, x: Tensor) -> Tensor:
        """What the blocks make of each step, [B, T, W]."""
        x = self.embed(self._sequence(x))
        for block in self.blocks:
            x = block(x)
        out: Tensor = self.norm(x)
        return out

    def _sequence(self, x: Tensor) -> Tensor:
        if self.steps is not None:
            return x.reshape(len(x), self.steps, -1)
        return x.unsqueeze(-1) if x.ndim == 2 else x.flatten(2)

    def extra_repr(self) -> str:
        return f"steps={self.steps}, pool={self.pool}"


class Transposed(nn.Module):
    """[B, T, F] as [B, F, T], or back."""

    def forward(self, x: Tensor) -> Tensor:
        return x.transpose(1, 2)
