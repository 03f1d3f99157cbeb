"""All architectures, small, each with the data that it is asked to fit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, nn

from trainables.models import CNN, GRU, LSTM, MLP, TCN, MultiPlasticity, ResidualMLP, StateSpace, Transformer
from trainables.recipe import Model
from trainables.seeds import generator, seeded
from trainables.task import Shape


class Architecture(Protocol):
    """What every architecture offers."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    def adapted(self, shape: Shape) -> Model: ...

    def build(self) -> nn.Module: ...

    def conflicts(self) -> Iterator[str]: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """A model for samples of this shape; ``blocks`` is how many repeated parts it has."""

    model: Architecture
    inputs: tuple[int, ...]
    blocks: int

    def built(self, seed: int = 0, dtype: torch.dtype = torch.float64) -> nn.Module:
        """The module for three outputs, its weights drawn from ``seed``."""
        with seeded(torch.device("cpu"), "init", seed):
            return self.model.adapted(Shape(inputs=self.inputs, outputs=3)).build().to(dtype=dtype)

    def batch(self, size: int, dtype: torch.dtype = torch.float64) -> Tensor:
        """Samples that are always the same."""
        return torch.randn(size, *self.inputs, generator=generator("batch", size), dtype=dtype)


CASES = {
    "mlp": Case(model=MLP(widths=(8, 6)), inputs=(2, 5), blocks=2),
    "mlp, norm": Case(model=MLP(widths=(8, 6), norm=True, activation="gelu", dropout=0.3), inputs=(10,), blocks=2),
    "residual mlp": Case(model=ResidualMLP(width=8, depth=3, dropout=0.3), inputs=(2, 5), blocks=3),
    "cnn": Case(model=CNN(channels=(4, 6, 8), dropout=0.3), inputs=(2, 8, 8), blocks=3),
    "cnn, group": Case(model=CNN(channels=(4, 8), norm="group", groups=2, dropout=0.3), inputs=(8, 6), blocks=2),
    "cnn, none": Case(model=CNN(channels=(4,), norm="none", kernel=5, activation="silu"), inputs=(64,), blocks=1),
    "lstm": Case(model=LSTM(width=6, depth=2, dropout=0.3), inputs=(7, 3), blocks=2),
    "gru": Case(model=GRU(width=6, depth=2, dropout=0.3), inputs=(7, 3), blocks=2),
    "gru, mean": Case(model=GRU(width=6, pool="mean"), inputs=(9,), blocks=1),
    "tcn": Case(model=TCN(width=6, depth=2, dropout=0.3), inputs=(9, 3), blocks=2),
    "tcn, same width": Case(model=TCN(width=6, depth=1, kernel=2, pool="mean"), inputs=(7, 6), blocks=1),
    "transformer": Case(model=Transformer(width=8, heads=2, dropout=0.3), inputs=(7, 3), blocks=2),
    "transformer, causal": Case(
        model=Transformer(width=8, heads=4, depth=1, causal=True, pool="last", positions="sinusoidal"),
        inputs=(7,),
        blocks=1,
    ),
    "state space": Case(model=StateSpace(width=6, states=4, dropout=0.3), inputs=(7, 3), blocks=2),
    "plasticity": Case(
        model=MultiPlasticity(width=6, depth=2, time_constants=(2.0, 5.0), dropout=0.3), inputs=(7, 3), blocks=2
    ),
    "flat, in steps": Case(model=LSTM(width=6, steps=4), inputs=(3, 2, 4), blocks=1),
}
"""By name."""

SEQUENCES = ("lstm", "gru", "tcn", "transformer", "state space", "plasticity")
"""Cases whose samples are sequences, one of each kind."""


def gradients(module: nn.Module) -> Sequence[tuple[str, Tensor | None]]:
    """The gradient of each parameter, by name."""
    return [(name, parameter.grad) for name, parameter in module.named_parameters()]
