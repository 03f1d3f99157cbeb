"""A full pass after every epoch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trainables.run import Run
    from trainables.task import Maximise, Minimise


@dataclass(frozen=True, kw_only=True, slots=True)
class EveryEpoch:
    """A full pass over every validation set after every epoch."""

    @property
    def kind(self) -> str:
        """Nothing is approximate."""
        return ""

    def full(
        self,
        epoch: int,  # noqa: ARG002
        epochs: int,  # noqa: ARG002
        history: Sequence[Mapping[str, Any]],  # noqa: ARG002
        goal: Maximise | Minimise,  # noqa: ARG002
    ) -> bool:
        """Always."""
        return True

    def instead(self, run: Run) -> Mapping[str, float]:  # noqa: ARG002
        """Nothing."""
        return {}

    def within(self, steps: int) -> frozenset[int]:  # noqa: ARG002
        """Nowhere."""
        return frozenset()

    def conflicts(self) -> Iterator[str]:
        """There is nothing to set."""
        return iter(())
