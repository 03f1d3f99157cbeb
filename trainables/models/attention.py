"""Multi-head self-attention."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional


class Attention(nn.Module):
    """Scaled dot-product attention of ``heads`` heads, [B, T, W] to [B, T, W] (Vaswani et al., 2017), by torch's fused kernels.

    ``causal`` lets each step see itself and what came before it. ``dropout`` drops attention weights; it is a module whose p is
    read at each call. Queries, keys and values have no bias: a key's bias has no effect on a softmax. Parameters: 4 W² + W.
    """

    def __init__(self, width: int, heads: int, *, dropout: float, causal: bool) -> None:
        super().__init__()
        self.mix = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)
        self.heads = heads
        self.causal = causal

    def forward(self, x: Tensor) -> Tensor:
        batch, steps, width = x.shape
        mixed = self.mix(x).view(batch, steps, 3, self.heads, width // self.heads)
        query, key, value = mixed.permute(2, 0, 3, 1, 4).unbind(0)  # each [B, heads, T, W / heads]
        rate = self.dropout.p if self.dropout.training else 0.0
        seen = functional.scaled_dot_product_attention(query, key, value, dropout_p=rate, is_causal=self.causal)
        out: Tensor = self.out(seen.transpose(1, 2).reshape(batch, steps, width))
        return out

    def extra_repr(self) -> str:
        return f"heads={self.heads}, causal={self.causal}"
