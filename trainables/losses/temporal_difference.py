"""The loss of Q-learning."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trainables.losses.huber import delta_conflicts
from trainables.losses.loss import wide

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True, slots=True)
class TemporalDifference:
    """Huber's loss of the value given to the action that was taken, against its target: a value a sample [B].

    Outputs [B, A] are the values of A actions. Targets [B, 2] are floating: the action's number from 0, and the value to be met,
    such as reward + discount * best value of the next state by a network that is held fixed (Mnih et al., 2015). ``delta`` is the
    error, in the value's units, beyond which the gradient grows no more.
    """

    delta: float = 1.0

    def __call__(self, output: Tensor, target: Tensor) -> Tensor:
        """Each sample's loss, [B]."""
        from torch.nn import functional

        action, value = target[:, 0].long(), target[:, 1]
        taken = wide(output).gather(1, action.unsqueeze(1)).squeeze(1)
        return functional.huber_loss(taken, value.to(taken.dtype), reduction="none", delta=self.delta)

    def outputs(self, targets: Sequence[Tensor]) -> int:
        """One for each action that occurs, and for those numbered below; name the model's own where some never occur."""
        return 1 + max(int(target[:, 0].max()) for target in targets)

    def conflicts(self) -> Iterator[str]:
        """What is wrong with the settings."""
        yield from delta_conflicts("TemporalDifference", self.delta)
