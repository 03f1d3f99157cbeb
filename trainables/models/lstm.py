"""The long short-term memory network."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from trainables.models.settings import Pool, counted, sequential, series, shared, sizes

if TYPE_CHECKING:
    from torch import nn

    from trainables.task import Shape


@dataclass(frozen=True, kw_only=True, slots=True)
class LSTM:
    """``depth`` layers of long short-term memory (Hochreiter and Schmidhuber, 1997) and a linear layer.

    Inputs are [B, T, F], [B, T] (one feature) or, with ``steps`` = T, anything of T F values; outputs are [B, outputs], from the
    last step or the mean over steps as ``pool`` says. ``inputs`` (F) and ``outputs`` are read off the data when they are None. The
    layers are torch's own, one by one, with dropout after each, the last one included.

    Parameters: 4 W (n + W + 2) for each layer with n inputs and W = ``width``, and (W + 1) outputs.
    """

    width: int = 64
    depth: int = 1
    steps: int | None = None
    inputs: int | None = None
    outputs: int | None = None
    pool: Pool = "last"
    dropout: float = 0.0

    def adapted(self, shape: Shape) -> LSTM:
        """The same network with the sizes that the data asks for where none are given."""
        _, features = series("LSTM", shape, self.steps)
        return replace(
            self,
            inputs=features if self.inputs is None else self.inputs,
            outputs=shape.outputs if self.outputs is None else self.outputs,
        )

    def build(self) -> nn.Module:
        """A new module. Raises ValueError when a size is missing or a setting is wrong."""
        from torch import nn

        from trainables.models.recurrent_layer import RecurrentLayer
        from trainables.models.sequence_net import SequenceNet

        inputs, outputs = sizes(self, self.inputs, self.outputs)
        befores = (inputs, *[self.width] * (self.depth - 1))
        blocks = [RecurrentLayer(nn.LSTM(n, self.width, batch_first=True), self.dropout) for n in befores]
        return SequenceNet(
            steps=self.steps,
            embed=nn.Identity(),
            blocks=blocks,
            norm=nn.Identity(),
            pool=self.pool,
            head=nn.Linear(self.width, outputs),
        )

    def conflicts(self) -> Iterator[str]:
        """What is wrong with the settings."""
        yield from counted("LSTM", "width", self.width, 64)
        yield from counted("LSTM", "depth", self.depth, "1 or 2")
        yield from sequential("LSTM", self.steps, self.inputs, self.outputs, self.pool)
        yield from shared("LSTM", "dropout", self.dropout)
