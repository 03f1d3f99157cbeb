"""Weight averaging: the weights that are evaluated and kept may be an average over the run."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, final

if TYPE_CHECKING:
    from torch import Tensor, nn


class Average(Protocol):
    """A part that builds the running average of a module."""

    def build(self, module: nn.Module) -> Averaged:
        """The average, starting at the module's weights."""
        ...

    def conflicts(self) -> Iterator[str]:
        """What is wrong with the settings."""
        ...


class Averaged(Protocol):
    """A running average: updated after each step, evaluated in place of the module."""

    @property
    def module(self) -> nn.Module:
        """A module of its own that holds the averaged weights."""
        ...

    def update(self) -> None:
        """Take in the weights as they are now."""
        ...

    def state(self) -> dict[str, Any]:
        """All that a resumed run needs."""
        ...

    def load(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class EMA:
    """Exponential moving average of the weights and of floating buffers such as BatchNorm's statistics.

    At update t (from 1) the decay is min(``decay``, (1 + t) / (10 + t)) when ``warmup`` is on, so that a short run is not averaged
    with its start; without it the first update copies, as ``torch.optim.swa_utils.AveragedModel`` does, and the rest use ``decay``.
    """

    decay: float = 0.999
    warmup: bool = True

    def build(self, module: nn.Module) -> Averaged:
        """The average, starting at the module's weights."""
        return _Exponential(self, module)

    def conflicts(self) -> Iterator[str]:
        """What is wrong with the settings."""
        if not 0 < self.decay < 1:
            yield f"EMA decay {self.decay} must lie between 0 and 1; 0.999 is usual, average=None switches it off"


@final
class _Exponential:
    def __init__(self, settings: EMA, module: nn.Module) -> None:
        self.settings = settings
        self.module = copy.deepcopy(module).requires_grad_(False)
        self.updates = 0
        pairs = list(zip(_tensors(self.module), _tensors(module), strict=True))
        # Lists made once: one foreach call an update costs 18 µs where a Python loop over the parameters costs 100.
        self._floats = [(mine, theirs) for mine, theirs in pairs if mine.is_floating_point()]
        self._others = [(mine, theirs) for mine, theirs in pairs if not mine.is_floating_point()]
        self._mine = [mine for mine, _ in self._floats]
        self._theirs = [theirs for _, theirs in self._floats]

    def update(self) -> None:
        import torch

        self.updates += 1
        torch._foreach_lerp_(self._mine, self._theirs, 1 - self._decay())
        for mine, theirs in self._others:
            mine.copy_(theirs)

    def _decay(self) -> float:
        if not self.settings.warmup:
            return self.settings.decay if self.updates > 1 else 0.0
        return min(self.settings.decay, (1 + self.updates) / (10 + self.updates))

    def state(self) -> dict[str, Any]:
        return {"updates": self.updates, "module": self.module.state_dict()}

    def load(self, state: dict[str, Any]) -> None:
        self.updates = state["updates"]
        self.module.load_state_dict(state["module"])


def _tensors(module: nn.Module) -> list[Tensor]:
    return [tensor.detach() for tensor in [*module.parameters(), *module.buffers()]]
