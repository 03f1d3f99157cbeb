"""The multi-layer perceptron."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING

from trainables.models.activations import Activation, activation, unknown
from trainables.models.settings import counted, fitted, shared, sizes

if TYPE_CHECKING:
    from torch import nn

    from trainables.task import Shape


@dataclass(frozen=True, kw_only=True, slots=True)
class MLP:
    """Linear layers with an activation between them: inputs [B, ...] are flattened, outputs are [B, outputs].

    ``inputs`` and ``outputs`` are read off the data when they are None. ``norm`` puts a layer norm (Ba et al., 2016) before each
    activation, ``dropout`` a dropout (Srivastava et al., 2014) after it; at None there is no dropout layer at all, at 0.0 there is
    one that drops nothing until a schedule raises it. No hidden layer (``widths=()``) is a linear model.

    Parameters: (n + 1) m for each linear layer from n to m values, and 2 m more for each hidden one with ``norm``.
    """

    widths: tuple[int, ...] = (128, 128)
    inputs: int | None = None
    outputs: int | None = None
    activation: Activation = "relu"
    norm: bool = False
    dropout: float | None = None

    def adapted(self, shape: Shape) -> MLP:
        """The same perceptron with the sizes that the data asks for where none are given."""
        return replace(
            self,
            inputs=math.prod(shape.inputs) if self.inputs is None else self.inputs,
            outputs=shape.outputs if self.outputs is None else self.outputs,
        )

    def build(self) -> nn.Module:
        """A new module. Raises ValueError when a size is missing or a setting is wrong."""
        from torch import nn

        inputs, outputs = sizes(self, self.inputs, self.outputs)
        *hidden, last = pairwise((inputs, *self.widths, outputs))
        blocks = [self._block(*layer) for layer in hidden]
        layers = {"flatten": nn.Flatten(), "blocks": nn.Sequential(*blocks), "head": nn.Linear(*last)}
        return nn.Sequential(OrderedDict(layers))

    def conflicts(self) -> Iterator[str]:
        """What is wrong with the settings."""
        yield from counted("MLP", "widths", self.widths, (128, 128))
        yield from fitted("MLP", self.inputs, self.outputs)
        yield from unknown("MLP", self.activation)
        if self.dropout is not None:
            yield from shared("MLP", "dropout", self.dropout)

    def _block(self, width: int, following: int) -> nn.Module:
        from torch import nn

        layers: list[nn.Module] = [nn.Linear(width, following)]
        if self.norm:
            layers.append(nn.LayerNorm(following))
        layers.append(activation(self.activation))
        if self.dropout is not None:
            layers.append(nn.Dropout(self.dropout))
        return nn.Sequential(*layers)
