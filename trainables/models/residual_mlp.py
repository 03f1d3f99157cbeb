"""The residual multi-layer perceptron."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from trainables.models.activations import Activation, unknown
from trainables.models.settings import counted, fitted, shared, sizes

if TYPE_CHECKING:
    from torch import nn

    from trainables.task import Shape


@dataclass(frozen=True, kw_only=True, slots=True)
class ResidualMLP:
    """A linear layer to ``width`` values, ``depth`` pre-norm residual blocks, a layer norm and a linear layer.

    Inputs [B, ...] are flattened, outputs are [B, outputs]; ``inputs`` and ``outputs`` are read off the data when they are None.
    A block adds to its input two linear layers of its layer norm, ``expansion`` times as wide between them (He et al., 2016, as
    used for tables by Gorishniy et al., 2021).

    Parameters, with W = width and H = expansion W: (inputs + 1) W + depth (2 W + (W + 1) H + (H + 1) W) + 2 W + (W + 1) outputs.
    """

    width: int = 128
    depth: int = 2
    expansion: int = 2
    inputs: int | None = None
    outputs: int | None = None
    activation: Activation = "relu"
    dropout: float = 0.0

    def adapted(self, shape: Shape) -> ResidualMLP:
        """The same perceptron with the sizes that the data asks for where none are given."""
        return replace(
            self,
            inputs=math.prod(shape.inputs) if self.inputs is None else self.inputs,
            outputs=shape.outputs if self.outputs is None else self.outputs,
        )

    def build(self) -> nn.Module:
        """A new module. Raises ValueError when a size is missing or a setting is wrong."""
        from torch import nn

        from trainables.models.feed_forward import feed_forward

        inputs, outputs = sizes(self, self.inputs, self.outputs)
        hidden = self.expansion * self.width
        embed = nn.Linear(inputs, self.width)
        blocks = [feed_forward(self.width, hidden, self.activation, self.dropout) for _ in range(self.depth)]
        return nn.Sequential(
            OrderedDict[str, nn.Module](
                flatten=nn.Flatten(),
                embed=embed,
                blocks=nn.Sequential(*blocks),
                norm=nn.LayerNorm(self.width),
                head=nn.Linear(self.width, outputs),
            )
        )

    def conflicts(self) -> Iterator[str]:
        """What is wrong with the settings."""
        yield from counted("ResidualMLP", "width", self.width, 128)
        yield from counted("ResidualMLP", "depth", self.depth, 2)
        yield from counted("ResidualMLP", "expansion", self.expansion, 2)
        yield from fitted("ResidualMLP", self.inputs, self.outputs)
        yield from unknown("ResidualMLP", self.activation)
        yield from shared("ResidualMLP", "dropout", self.dropout)
