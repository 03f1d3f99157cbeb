"""The state-space model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from trainables.models.settings import Pool, counted, sequential, series, shared, sizes

if TYPE_CHECKING:
    from torch import nn

    from trainables.task import Shape


@dataclass(frozen=True, kw_only=True, slots=True)
class StateSpace:
    """A linear layer, ``depth`` pre-norm residual blocks of diagonal state-space layers, a layer norm and a linear layer.

    Inputs are [B, T, F], [B, T] (one feature) or, with ``steps`` = T, anything of T F values; outputs are [B, outputs], from the
    last step or the mean over steps as ``pool`` says. ``inputs`` (F) and ``outputs`` are read off the data when they are None.
    A block is layer norm, a diagonal system of ``states`` complex states a channel, GELU, dropout, a linear layer gated by its own
    second half (Dauphin et al., 2017) and dropout. No step sees a later one. After S4D (Gu et al., 2022), with the stable
    parametrisation of the LRU (Orvieto et al., 2023). ``timescales`` are the shortest and longest time step that a channel begins
    with; a channel remembers about 2 / step steps.

    Parameters, with W = width and N = states: (F + 1) W, then for each block 2 W (norm) + 2 W + 4 W N (system) +
    2 W (W + 1) (gate), then 2 W and (W + 1) outputs.
    """

    width: int = 64
    depth: int = 2
    states: int = 16
    timescales: tuple[float, float] = (0.001, 0.1)
    steps: int | None = None
    inputs: int | None = None
    outputs: int | None = None
    pool: Pool = "mean"
    dropout: float = 0.0

    def adapted(self, shape: Shape) -> StateSpace:
        """The same model with the sizes that the data asks for where none are given."""
        _, features = series("StateSpace", shape, self.steps)
        return replace(
            self,
            inputs=features if self.inputs is None else self.inputs,
            outputs=shape.outputs if self.outputs is None else self.outputs,
        )

    def build(self) -> nn.Module:
        """A new module. Raises ValueError when a size is missing or a setting is wrong."""
        from torch import nn

        from trainables.models.sequence_net import SequenceNet

        inputs, outputs = sizes(self, self.inputs, self.outputs)
        embed = nn.Linear(inputs, self.width)
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
        yield from counted("StateSpace", "width", self.width, 64)
        yield from counted("StateSpace", "depth", self.depth, 2)
        yield from counted("StateSpace", "states", self.states, 16)
        shortest, longest = self.timescales
        if not 0 < shortest <= longest:
            yield f"StateSpace timescales {self.timescales} must be above 0, the shorter first; (0.001, 0.1) is usual"
        yield from sequential("StateSpace", self.steps, self.inputs, self.outputs, self.pool)
        yield from shared("StateSpace", "dropout", self.dropout)

    def _block(self) -> nn.Module:
        from torch import nn

        from trainables.models.diagonal_states import DiagonalStates
        from trainables.models.residual import Residual

        return Residual(
            nn.Sequential(
                nn.LayerNorm(self.width),
                DiagonalStates(self.width, self.states, self.timescales),
                nn.GELU(),
                nn.Dropout(self.dropout),
                nn.Linear(self.width, 2 * self.width),
                nn.GLU(),
                nn.Dropout(self.dropout),
            )
        )
