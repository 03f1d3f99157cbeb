"""Early stopping: a run ends when validation has not improved for a while."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trainables.fit import Epoch
    from trainables.task import Maximise, Minimise


@dataclass(frozen=True, kw_only=True, slots=True)
class EarlyStopping:
    """Stop after ``patience`` validated epochs without an improvement of the goal's validation metric by more than ``min_delta``.

    A pure function of the history, so there is no state to save: a resumed run stops where the uninterrupted one would.
    """

    patience: int = 5
    min_delta: float = 0.0
    goal: Maximise | Minimise | None = None

    def exhausted(self, history: Sequence[Mapping[str, Any]], goal: Maximise | Minimise) -> bool:
        """True when the last ``patience`` full passes brought nothing; epochs without one do not count, a sample neither."""
        goal = self.goal or goal
        sign = 1.0 if goal.mode == "max" else -1.0
        best, waited = float("-inf"), 0
        for row in history:
            value = row.get(f"val/{goal.metric}")
            if value is None:
                continue
            if sign * value > best + self.min_delta:
                best, waited = sign * value, 0
            else:
                waited += 1
        return waited >= self.patience

    def conflicts(self) -> Iterator[str]:
        """What is wrong with the settings."""
        if self.patience < 1:
            yield f"EarlyStopping patience {self.patience} must be at least 1; stop=None switches it off"
        if self.min_delta < 0:
            yield f"EarlyStopping min_delta {self.min_delta} must not be negative"


def early_stopped(epochs: Iterable[Epoch], stop: EarlyStopping | None) -> Iterator[Epoch]:
    """End the run once ``stop`` is exhausted; None lets it run to its end."""
    for epoch in epochs:
        yield epoch
        if stop is not None and stop.exhausted(epoch.run.history, epoch.run.task.goal):
            return
