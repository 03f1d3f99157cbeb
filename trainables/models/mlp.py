"""The multi-layer perceptron."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

    from trainables.task import Shape


@dataclass(frozen=True, kw_only=True, slots=True)
class MLP:
    """Linear layers with ReLU between them: inputs [B, ...] are flattened, outputs are [B, outputs].

    ``inputs`` and ``outputs`` are read off the data when they are None.
    """

    widths: tuple[int, ...] = (128, 128)
    inputs: int | None = None
    outputs: int | None = None

    def adapted(self, shape: Shape) -> MLP:
        """The same perceptron with the sizes that the data asks for where none are given."""
        return replace(
            self,
            inputs=math.prod(shape.inputs) if self.inputs is None else self.inputs,
            outputs=shape.outputs if self.outputs is None else self.outputs,
        )

    def build(self) -> nn.Module:
        """A new module. Raises ValueError when a size is missing or below 1."""
        from torch import nn

        if self.inputs is None or self.outputs is None:
            raise ValueError(f"{self} lacks inputs or outputs; give both, or let a task fill them in")
        sizes = (self.inputs, *self.widths, self.outputs)
        if min(sizes) < 1:
            raise ValueError(f"MLP layer sizes {sizes} must all be at least 1")
        layers: list[nn.Module] = [nn.Flatten()]
        for index, (width, following) in enumerate(pairwise(sizes)):
            layers += [nn.ReLU()] * (index > 0) + [nn.Linear(width, following)]
        return nn.Sequential(*layers)
