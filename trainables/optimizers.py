"""Optimizers: settings that build torch's own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import torch
    from torch import nn


class Optimizer(Protocol):
    """A part that builds a torch optimizer; ``lr`` is the peak that a schedule scales."""

    @property
    def lr(self) -> float: ...

    def build(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """The optimizer over these parameters."""
        ...

    def conflicts(self) -> Iterator[str]:
        """What is wrong with the settings."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class AdamW:
    """Adam with decoupled weight decay (Loshchilov and Hutter, 2019), torch's fused kernel."""

    lr: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.01

    def build(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """The optimizer over these parameters."""
        from torch import optim

        return optim.AdamW(
            parameters, lr=self.lr, betas=self.betas, eps=self.eps, weight_decay=self.weight_decay, fused=True
        )

    def conflicts(self) -> Iterator[str]:
        """What is wrong with the settings."""
        yield from _common("AdamW", self.lr, self.weight_decay)
        if not all(0 <= beta < 1 for beta in self.betas):
            yield f"AdamW betas {self.betas} must lie in [0, 1); the usual ones are (0.9, 0.999)"
        if self.eps <= 0:
            yield f"AdamW eps {self.eps} must be above 0; the usual one is 1e-8"


@dataclass(frozen=True, kw_only=True, slots=True)
class SGD:
    """Stochastic gradient descent with momentum and coupled (L2) weight decay, torch's fused kernel."""

    lr: float = 0.1
    momentum: float = 0.0
    nesterov: bool = False
    weight_decay: float = 0.0

    def build(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """The optimizer over these parameters."""
        from torch import optim

        return optim.SGD(
            parameters,
            lr=self.lr,
            momentum=self.momentum,
            nesterov=self.nesterov,
            weight_decay=self.weight_decay,
            fused=True,
        )

    def conflicts(self) -> Iterator[str]:
        """What is wrong with the settings."""
        yield from _common("SGD", self.lr, self.weight_decay)
        if not 0 <= self.momentum < 1:
            yield f"SGD momentum {self.momentum} must lie in [0, 1); the usual one is 0.9"
        if self.nesterov and self.momentum == 0:
            yield "SGD nesterov needs momentum above 0; set momentum=0.9 or nesterov=False"


def _common(name: str, lr: float, weight_decay: float) -> Iterator[str]:
    if not lr > 0:
        yield f"{name} lr {lr} must be above 0; 1e-3 is a usual start"
    if weight_decay < 0:
        yield f"{name} weight_decay {weight_decay} must not be negative; 0 switches it off"
