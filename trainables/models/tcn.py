"""The temporal convolutional network."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from trainables.models.activations import Activation, activation, unknown
from trainables.models.settings import Pool, counted, sequential, series, shared, sizes

if TYPE_CHECKING:
    from torch import nn

    from trainables.task import Shape


@dataclass(frozen=True, kw_only=True, slots=True)
class TCN:
    """``depth`` residual blocks of causal convolutions, dilated 1, 2, 4…, and a linear layer (Bai et al., 2018).

    Inputs are [B, T, F], [B, T] (one feature) or, with ``steps`` = T, anything of T F values; outputs are [B, outputs], from the
    last step or the mean over steps as ``pool`` says. ``inputs`` (F) and ``outputs`` are read off the data when they are None. A
    block is two weight-normed convolutions, each with activation and dropout, beside a skip (a 1 x 1 convolution where the
    channels differ), and an activation over their sum. No step sees a later one; each sees ``reach`` steps, itself included.

    Parameters of a block from n channels to W = ``width``: k n W + 2 W, k W² + 2 W, and (n + 1) W for the skip where n is not W;
    and (W + 1) outputs.
    """

    width: int = 64
    depth: int = 3
    kernel: int = 3
    steps: int | None = None
    inputs: int | None = None
    outputs: int | None = None
    pool: Pool = "last"
    activation: Activation = "relu"
    dropout: float = 0.0

    @property
    def reach(self) -> int:
        """How many steps a step sees, itself included: 1 + 2 (k - 1) (2^depth - 1). Longer sequences are not seen whole."""
        return 1 + 2 * (self.kernel - 1) * ((1 << self.depth) - 1)

    def adapted(self, shape: Shape) -> TCN:
        """The same network with the sizes that the data asks for where none are given."""
        _, features = series("TCN", shape, self.steps)
        return replace(
            self,
            inputs=features if self.inputs is None else self.inputs,
            outputs=shape.outputs if self.outputs is None else self.outputs,
        )

    def build(self) -> nn.Module:
        """A new module. Raises ValueError when a size is missing or a setting is wrong."""
        from torch import nn

        from trainables.models.sequence_net import SequenceNet, Transposed

        inputs, outputs = sizes(self, self.inputs, self.outputs)
        befores = (inputs, *[self.width] * (self.depth - 1))
        return SequenceNet(
            steps=self.steps,
            embed=Transposed(),
            blocks=[self._block(before, 2**index) for index, before in enumerate(befores)],
            norm=Transposed(),
            pool=self.pool,
            head=nn.Linear(self.width, outputs),
        )

    def conflicts(self) -> Iterator[str]:
        """What is wrong with the settings."""
        yield from counted("TCN", "width", self.width, 64)
        yield from counted("TCN", "depth", self.depth, 3)
        yield from counted("TCN", "kernel", self.kernel, 3)
        yield from sequential("TCN", self.steps, self.inputs, self.outputs, self.pool)
        yield from unknown("TCN", self.activation)
        yield from shared("TCN", "dropout", self.dropout)

    def _block(self, before: int, dilation: int) -> nn.Module:
        from torch import nn

        from trainables.models.causal_convolution import CausalConvolution
        from trainables.models.residual import Residual

        layers: list[nn.Module] = []
        for channels in (before, self.width):
            layers.append(CausalConvolution(channels, self.width, self.kernel, dilation))
            layers += [activation(self.activation), nn.Dropout(self.dropout)]
        skip = nn.Conv1d(before, self.width, 1) if before != self.width else None
        return nn.Sequential(Residual(nn.Sequential(*layers), skip), activation(self.activation))
