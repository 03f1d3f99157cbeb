"""Exponential moving average of the weights."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

from trainables.averages.pairs import Pairs

if TYPE_CHECKING:
    from torch import Tensor, nn

    from trainables.averages.average import Averaged


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
        return Exponential(self, module)

    def conflicts(self) -> Iterator[str]:
        """What is wrong with the settings."""
        if not 0 < self.decay < 1:
            yield f"EMA decay {self.decay} must lie between 0 and 1; 0.999 is usual, average=None switches it off"


@final
class Exponential:
    """The average of one module; ``updates`` counts the steps."""

    def __init__(self, settings: EMA, module: nn.Module) -> None:
        self.settings = settings
        self.module = copy.deepcopy(module).requires_grad_(False)
        self.updates = 0
        self._tensors = Pairs.of(self.module, module)

    def update(self) -> None:
        """Go one step towards the module."""
        self.updates += 1
        self._tensors.approach(1 - self.decay())

    def epoch_ended(self, epoch: int, epochs: int, batches: Callable[[], Iterator[tuple[Tensor, ...]]]) -> None:
        """Nothing to do: the statistics of BatchNorm are averaged like the weights."""

    def decay(self) -> float:
        """The decay of the update that was counted last."""
        if not self.settings.warmup:
            return self.settings.decay if self.updates > 1 else 0.0
        return min(self.settings.decay, (1 + self.updates) / (10 + self.updates))

    def state(self) -> dict[str, Any]:
        """All that a resumed run needs."""
        return {"updates": self.updates, "module": self.module.state_dict()}

    def load(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        self.updates = state["updates"]
        self.module.load_state_dict(state["module"])
