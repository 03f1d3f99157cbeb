"""A policy with one more full pass."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from trainables.validation.validation import Beside, Picking, Preparing

if TYPE_CHECKING:
    from trainables.run import Run
    from trainables.task import Maximise, Minimise
    from trainables.validation.validation import Validation


@dataclass(frozen=True, kw_only=True, slots=True)
class AlsoAt:
    """Another policy, with a full pass at one ``epoch`` whatever it says: the end of a segment, by which members are judged."""

    policy: Validation
    epoch: int

    @property
    def kind(self) -> str:
        """The policy's."""
        return self.policy.kind

    def full(self, epoch: int, epochs: int, history: Sequence[Mapping[str, Any]], goal: Maximise | Minimise) -> bool:
        """There, and where the policy says so."""
        return epoch == self.epoch or self.policy.full(epoch, epochs, history, goal)

    def instead(self, run: Run) -> Mapping[str, float]:
        """The policy's."""
        return self.policy.instead(run)

    @property
    def picks(self) -> bool:
        """Whether the policy asks for samples by number."""
        return isinstance(self.policy, Picking) and self.policy.picks

    @property
    def beside(self) -> bool:
        """Whether the policy measures its own values at full passes too."""
        return isinstance(self.policy, Beside) and self.policy.beside

    def prepare(self, run: Run) -> None:
        """The policy's, where it has anything to make."""
        if isinstance(self.policy, Preparing):
            self.policy.prepare(run)

    def within(self, steps: int) -> frozenset[int]:
        """The policy's."""
        return self.policy.within(steps)

    def conflicts(self) -> Iterator[str]:
        """The policy's."""
        return self.policy.conflicts()
