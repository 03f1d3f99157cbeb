"""Full passes at another pace early, in the middle and late in a run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from trainables.validation.validation import whole

if TYPE_CHECKING:
    from trainables.run import Run
    from trainables.task import Maximise, Minimise


@dataclass(frozen=True, kw_only=True, slots=True)
class Thirds:
    """A full pass after every ``early``-th epoch of a run's first third, ``mid``-th of the second, ``late``-th of the last.

    Epochs are counted from the run's first: with ``early=4`` those are 4, 8, 12. The best epoch is found among those that are
    validated, so few passes early cost little where the best comes late. A target counts as reached when a pass has seen it.
    """

    early: int = 4
    mid: int = 2
    late: int = 1

    @property
    def kind(self) -> str:
        """Nothing is approximate."""
        return ""

    def full(
        self,
        epoch: int,
        epochs: int,
        history: Sequence[Mapping[str, Any]],  # noqa: ARG002
        goal: Maximise | Minimise,  # noqa: ARG002
    ) -> bool:
        """By the epoch's number alone."""
        third = min(2, 3 * (epoch - 1) // epochs)
        return epoch % (self.early, self.mid, self.late)[third] == 0

    def instead(self, run: Run) -> Mapping[str, float]:  # noqa: ARG002
        """Nothing."""
        return {}

    def within(self, steps: int) -> frozenset[int]:  # noqa: ARG002
        """Nowhere."""
        return frozenset()

    def conflicts(self) -> Iterator[str]:
        """What is wrong with the settings."""
        for name in ("early", "mid", "late"):
            yield from whole("Thirds", name, getattr(self, name), "epochs")
