"""The transformer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, get_args

from trainables.models.activations import Activation, unknown
from trainables.models.settings import Pool, counted, named, sequential, series, shared, sizes

if TYPE_CHECKING:
    from torch import nn

    from trainables.task import Shape

Positions = Literal["learned", "sinusoidal"]
"""A learned vector for each step, or sines and cosines, which need no longest length."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Transformer:
    """A linear layer with positions, ``depth`` pre-norm blocks of attention and feed-forward, a layer norm and a linear layer.

    Inputs are [B, T, F], [B, T] (one feature) or, with ``steps`` = T, anything of T F values; outputs are [B, outputs], from the
    last step or the mean over steps as ``pool`` says. ``inputs`` (F), ``outputs`` and ``longest`` (the steps that learned positions
    are made for) are read off the data when they are None. ``causal`` makes it a decoder: no step sees a later one; without, it is
    an encoder. Dropout follows positions, attention weights, attention and both feed-forward layers. After Vaswani et al., 2017,
    with the norm before each part instead of behind it (Xiong et al., 2020).

    Parameters, with W = width and H = expansion W: (F + 1) W, longest W for learned positions, then for each block
    4 W² + W + 2 W (attention) and (W + 1) H + (H + 1) W + 2 W (feed-forward), then 2 W and (W + 1) outputs.
    """

    width: int = 64
    depth: int = 2
    heads: int = 4
    expansion: int = 4
    causal: bool = False
    positions: Positions = "learned"
    longest: int | None = None
    steps: int | None = None
    inputs: int | None = None
    outputs: int | None = None
    pool: Pool = "mean"
    activation: Activation = "gelu"
    dropout: float = 0.0

    def adapted(self, shape: Shape) -> Transformer:
        """The same transformer with the sizes that the data asks for where none are given."""
        steps, features = series("Transformer", shape, self.steps)
        return replace(
            self,
            longest=steps if self.longest is None else self.longest,
            inputs=features if self.inputs is None else self.inputs,
            outputs=shape.outputs if self.outputs is None else self.outputs,
        )

    def build(self) -> nn.Module:
        """A new module. Raises ValueError when a size is missing or a setting is wrong."""
        from torch import nn

        from trainables.models.sequence_net import SequenceNet

        inputs, outputs = sizes(self, self.inputs, self.outputs)
        embed = nn.Sequential(nn.Linear(inputs, self.width), self._positions(), nn.Dropout(self.dropout))
        return SequenceNet(
            steps=self.steps,
            embed=embed,
            blocks=[self._block() for _ in range(self.depth)],
            norm=nn.LayerNorm(self.width),
            pool=self.pool,
            head=nn.Linear(self.width, outputs),
        )

    def conflicts(self) -> Iterator[str]:
        """What is wrong with the settings."""
        yield from counted("Transformer", "width", self.width, 64)
        yield from counted("Transformer", "depth", self.depth, 2)
        yield from counted("Transformer", "heads", self.heads, 4)
        beyond = self.width % self.heads if self.heads >= 1 else 0
        if beyond:
            yield f"Transformer width {self.width} is not a multiple of heads {self.heads}; {self.width - beyond + self.heads} is"
        yield from counted("Transformer", "expansion", self.expansion, 4)
        yield from named("Transformer", "positions", self.positions, get_args(Positions))
        if self.positions == "sinusoidal" and self.width % 2:
            yield f"Transformer width {self.width} must be even for sinusoidal positions; {self.width + 1} is"
        yield from counted("Transformer", "longest", self.longest, "None, which reads it off the data,")
        yield from sequential("Transformer", self.steps, self.inputs, self.outputs, self.pool)
        yield from unknown("Transformer", self.activation)
        yield from shared("Transformer", "dropout", self.dropout)

    def _positions(self) -> nn.Module:
        from trainables.models.positions import LearnedPositions, SinusoidalPositions

        if self.positions == "sinusoidal":
            return SinusoidalPositions()
        if self.longest is None:
            raise ValueError(f'{self} lacks longest; give it, let a task fill it in, or take positions="sinusoidal"')
        return LearnedPositions(self.longest, self.width)

    def _block(self) -> nn.Module:
        from torch import nn

        from trainables.models.attention import Attention
        from trainables.models.feed_forward import feed_forward
        from trainables.models.residual import Residual

        attention = Attention(self.width, self.heads, dropout=self.dropout, causal=self.causal)
        return nn.Sequential(
            Residual(nn.Sequential(nn.LayerNorm(self.width), attention, nn.Dropout(self.dropout))),
            feed_forward(self.width, self.expansion * self.width, self.activation, self.dropout),
        )
