"""Full passes after every epoch as long as they show an improvement, and fewer where they do not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from trainables.validation.validation import whole

if TYPE_CHECKING:
    from trainables.run import Run
    from trainables.task import Maximise, Minimise


@dataclass(frozen=True, kw_only=True, slots=True)
class OnPlateau:
    """A full pass after every epoch; on a plateau, after every ``every``-th.

    A plateau begins once ``patience`` full passes in a row have brought no improvement of the goal's validation value by more than
    ``min_delta``, and ends with the next that does. Early stopping counts validated epochs: on a plateau it waits
    ``every`` times as long. Runs with plateaus at other epochs are validated at others, so ASHA may judge one later than the other.
    """

    patience: int = 3
    every: int = 4
    min_delta: float = 0.0

    @property
    def kind(self) -> str:
        """Nothing is approximate."""
        return ""

    def full(
        self,
        epoch: int,
        epochs: int,  # noqa: ARG002
        history: Sequence[Mapping[str, Any]],
        goal: Maximise | Minimise,
    ) -> bool:
        """By what the full passes before have shown."""
        sign = 1.0 if goal.mode == "max" else -1.0
        best, waited, last = float("-inf"), 0, 0
        for row in history:
            value = row.get(f"val/{goal.metric}")
            if value is None:
                continue
            last = row["epoch"]
            if sign * value > best + self.min_delta:
                best, waited = sign * value, 0
            else:
                waited += 1
        return waited < self.patience or epoch - last >= self.every

    def instead(self, run: Run) -> Mapping[str, float]:  # noqa: ARG002
        """Nothing."""
        return {}

    def within(self, steps: int) -> frozenset[int]:  # noqa: ARG002
        """Nowhere."""
        return frozenset()

    def conflicts(self) -> Iterator[str]:
        """What is wrong with the settings."""
        yield from whole("OnPlateau", "patience", self.patience, "full passes")
        yield from whole("OnPlateau", "every", self.every, "epochs")
        if not self.min_delta >= 0:
            yield f"OnPlateau min_delta {self.min_delta} must not be negative"
