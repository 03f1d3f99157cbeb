"""The recurrent network with several Hebbian traces."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from trainables.models.settings import Pool, counted, sequential, series, shared, sizes

if TYPE_CHECKING:
    from torch import nn

    from trainables.task import Shape


@dataclass(frozen=True, kw_only=True, slots=True)
class MultiPlasticity:
    """``depth`` recurrent layers whose weights also change within a sequence, and a linear layer.

    Inputs are [B, T, F], [B, T] (one feature) or, with ``steps`` = T, anything of T F values; outputs are [B, outputs], from the
    last step or the mean over steps as ``pool`` says. ``inputs`` (F) and ``outputs`` are read off the data when they are None.

    Beside slow weights W that gradient descent sets, each connection has M Hebbian traces P_m of its sample's own activity, which
    fade over ``time_constants`` (steps, each above 1; where learning begins, it moves them):
    h_t = tanh(U x_t + b + (W + sum_m A_m * P_m,t-1) h_t-1), P_m,t = (1 - r_m) P_m,t-1 + r_m h_t h_t-1ᵀ, r_m = 1 / time constant.
    Differentiable plasticity (Miconi et al., 2018) with several time constants. The state of a sample is M H² values a layer, and
    gradients keep it for each step: memory grows as B T M H².

    Parameters: n H + H + H² (1 + M) + M for each layer with n inputs and H = ``width``, and (H + 1) outputs.
    """

    width: int = 32
    depth: int = 1
    time_constants: tuple[float, ...] = (2.0, 8.0, 32.0)
    steps: int | None = None
    inputs: int | None = None
    outputs: int | None = None
    pool: Pool = "last"
    dropout: float = 0.0

    def adapted(self, shape: Shape) -> MultiPlasticity:
        """The same network with the sizes that the data asks for where none are given."""
        _, features = series("MultiPlasticity", shape, self.steps)
        return replace(
            self,
            inputs=features if self.inputs is None else self.inputs,
            outputs=shape.outputs if self.outputs is None else self.outputs,
        )

    def build(self) -> nn.Module:
        """A new module. Raises ValueError when a size is missing or a setting is wrong."""
        from torch import nn

        from trainables.models.plastic_layer import PlasticLayer
        from trainables.models.sequence_net import SequenceNet

        inputs, outputs = sizes(self, self.inputs, self.outputs)
        befores = (inputs, *[self.width] * (self.depth - 1))
        return SequenceNet(
            steps=self.steps,
            embed=nn.Identity(),
            blocks=[PlasticLayer(n, self.width, self.time_constants, self.dropout) for n in befores],
            norm=nn.Identity(),
            pool=self.pool,
            head=nn.Linear(self.width, outputs),
        )

    def conflicts(self) -> Iterator[str]:
        """What is wrong with the settings."""
        yield from counted("MultiPlasticity", "width", self.width, 32)
        yield from counted("MultiPlasticity", "depth", self.depth, 1)
        if not self.time_constants:
            yield "MultiPlasticity time_constants () has no trace; give one at least, such as (8.0,)"
        if not all(constant > 1 for constant in self.time_constants):
            yield f"MultiPlasticity time_constants {self.time_constants} must all be above 1 step; (2.0, 8.0, 32.0) is usual"
        yield from sequential("MultiPlasticity", self.steps, self.inputs, self.outputs, self.pool)
        yield from shared("MultiPlasticity", "dropout", self.dropout)
