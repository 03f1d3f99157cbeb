"""Stochastic weight averaging."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

from trainables.averages import batch_norm
from trainables.averages.pairs import Pairs

if TYPE_CHECKING:
    from torch import Tensor, nn

    from trainables.averages.average import Averaged


@dataclass(frozen=True, kw_only=True, slots=True)
class SWA:
    """The plain mean of the weights at the ends of the run's last ``epochs`` epochs (Izmailov et al., 2018).

    Before those, the module that is validated holds the weights as they are at each epoch's end. The statistics of BatchNorm
    layers do not belong to averaged weights: they are measured anew by a pass over the training set, in those epochs and with such
    layers only; frozen ones keep theirs. Other buffers are the last epoch's. A run that is stopped before has nothing averaged.
    """

    epochs: int = 5

    def build(self, module: nn.Module) -> Averaged:
        """The average, starting at the module's weights."""
        return _Mean(self, module)

    def conflicts(self) -> Iterator[str]:
        """What is wrong with the settings."""
        if not isinstance(self.epochs, int) or self.epochs < 1:
            yield f"SWA epochs {self.epochs} must be a whole number from 1; 5 is usual, average=None switches it off"


@final
class _Mean:
    def __init__(self, settings: SWA, module: nn.Module) -> None:
        self.settings = settings
        self.module = copy.deepcopy(module).requires_grad_(False)
        self.averaged = 0
        self._source = module

    def update(self) -> None:
        pass  # steps within an epoch do not count

    def epoch_ended(self, epoch: int, epochs: int, batches: Callable[[], Iterator[tuple[Tensor, ...]]]) -> None:
        # Made anew, since a module's tensors may have moved; once an epoch that costs nothing.
        weights = Pairs.between(self.module.parameters(), self._source.parameters())
        Pairs.between(self.module.buffers(), self._source.buffers()).copy()
        if epoch <= epochs - self.settings.epochs:
            weights.copy()
            self.averaged = 0  # the run may have been made longer since it was last at its end
            return
        if self.averaged:
            weights.approach(1 / (self.averaged + 1))
        else:
            weights.copy()
        self.averaged += 1
        batch_norm.refresh(self.module, batch_norm.learning(self.module, self._source), batches)

    def state(self) -> dict[str, Any]:
        return {"averaged": self.averaged, "module": self.module.state_dict()}

    def load(self, state: dict[str, Any]) -> None:
        self.averaged = state["averaged"]
        self.module.load_state_dict(state["module"])
