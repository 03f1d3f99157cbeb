"""What is known of a run under way, and how long the rest will take."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

WINDOW = 30
"""The pace of steps is taken over so many seconds, that of epochs over ``EPOCHS`` of them: it may change on the way."""

EPOCHS = 10


@dataclass(kw_only=True, slots=True)
class Standing:
    """Where a run stands; every time is one on the clock of whoever tells it.

    ``epoch`` is the one under way or the last that has ended, ``done`` its steps, of ``steps``; ``ended`` epochs are over, of
    ``epochs``. What is not known, as the length of a stream, is None. ``usual`` are the seconds of an epoch and of its validation
    in an earlier process, by which a resumed run is judged until it has a pace of its own.
    """

    epochs: int | None = None
    steps: int | None = None
    batch: int | None = None
    epoch: int = 0
    done: int = 0
    ended: int = 0
    loss: float | None = None
    lr: float | None = None
    usual: tuple[float, float] | None = None
    begun: float | None = None
    trained: float | None = None
    _first: int = 0
    _halted: float | None = None
    _marks: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=WINDOW))
    _took: deque[float] = field(default_factory=lambda: deque(maxlen=EPOCHS))
    _validation: deque[float] = field(default_factory=lambda: deque(maxlen=EPOCHS))
    _since: float | None = None

    def epoch_begins(self, epoch: int, done: int, now: float) -> None:
        """An epoch is under way; ``done`` of its steps an earlier process has taken."""
        self.epoch, self.done, self._first, self.begun, self.trained = epoch, done, done, now, None
        self._halted = None
        self._marks.clear()
        self._marks.append((now, done))
        if self._since is None:
            self._since = now

    def stepped(self, done: int, now: float) -> None:
        """So many of its steps are done."""
        self.done = done
        if len(self._marks) < 2 or now - self._marks[-1][0] >= 1.0:
            self._marks.append((now, done))

    def validates(self, now: float) -> None:
        """All its steps are done."""
        self.trained = self._halted = now

    def epoch_ends(self, epoch: int, now: float) -> None:
        """An epoch is over, validation and what came after it included."""
        if self.trained is not None:
            self._validation.append(now - self.trained)
        if self._since is not None and (self._first == 0):
            self._took.append(now - self._since)
        self.epoch = self.ended = epoch
        self._halted = now if self._halted is None else self._halted
        self.begun, self.trained, self._since, self._first = None, None, now, 0

    def step_seconds(self, now: float) -> float | None:
        """Seconds of a step, lately; None before there was one."""
        if not self._marks:
            return None
        at, before = self._marks[0]
        until = now if self._halted is None else self._halted
        return (until - at) / (self.done - before) if self.done > before and until > at else None

    def epoch_left(self, now: float) -> float | None:
        """Seconds to the end of the epoch under way, validation included; None where nobody can say."""
        if self.begun is None:
            return None
        validation = self._of_validation()
        if self.trained is not None:
            return max(validation - (now - self.trained), 0.0) if validation is not None else None
        step = self.step_seconds(now)
        if step is None or self.steps is None:
            return None
        return max(self.steps - self.done, 0) * step + (validation or 0.0)

    def run_left(self, now: float) -> float | None:
        """Seconds to the end of the run; None where nobody can say."""
        if self.epochs is None:
            return None
        left = max(self.epochs - self.ended, 0)
        each = self._of_epoch(now)
        if self.begun is None or left == 0:
            return left * each if each is not None else None
        here = self.epoch_left(now)
        if here is None or (each is None and left > 1):
            return None
        return here + (left - 1) * (each or 0.0)

    def _of_validation(self) -> float | None:
        if self._validation:
            return sum(self._validation) / len(self._validation)
        return self.usual[1] if self.usual is not None else None

    def _of_epoch(self, now: float) -> float | None:
        """Seconds of a whole epoch: of those that were seen, else by the pace of this one, else as an earlier process had them."""
        if self._took:
            return sum(self._took) / len(self._took)
        step = self.step_seconds(now)
        if step is not None and self.steps is not None:
            return self.steps * step + (self._of_validation() or 0.0)
        return self.usual[0] if self.usual is not None else None


def usual(history: Sequence[Mapping[str, Any]]) -> tuple[float, float] | None:
    """Seconds of an epoch and of its validation by a history; None for an empty one."""
    if not history or "wall_seconds" not in history[-1]:
        return None
    wall, train, epochs = history[-1]["wall_seconds"], history[-1]["seconds"], history[-1]["epoch"]
    return wall / epochs, (wall - train) / epochs
