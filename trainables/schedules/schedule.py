"""What a schedule is to the loop."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, Protocol, TypeGuard, runtime_checkable

if TYPE_CHECKING:
    from trainables.task import Maximise, Minimise


@runtime_checkable
class Schedule(Protocol):
    """(progress) -> multiplier. The loop asks at the middle of each step, so neither the first nor the last step is wasted on 0."""

    def __call__(self, progress: float) -> float:
        """The multiplier at this progress, 0 at the run's start and 1 at its end."""
        ...

    def conflicts(self) -> Iterator[str]:
        """What is wrong with the settings."""
        ...


@runtime_checkable
class Reactive(Protocol):
    """A schedule that depends on how training goes; itself it is the schedule of the first epoch.

    It remembers nothing: all it goes by is the history, so a resumed run has the learning rates of the undisturbed one.
    """

    def __call__(self, progress: float) -> float:
        """The multiplier at this progress as long as there is no history."""
        ...

    def after(self, history: Sequence[Mapping[str, Any]], goal: Maximise | Minimise) -> Schedule:
        """The schedule of the epoch that comes after these, one row an epoch with its metrics by name, such as ``val/loss``."""
        ...

    def conflicts(self) -> Iterator[str]:
        """What is wrong with the settings."""
        ...


def reactive(schedule: Schedule) -> TypeGuard[Reactive]:
    """Whether a schedule depends on how training goes, by its class; asked in every epoch of every run."""
    return _reactive(type(schedule))


@cache
def _reactive(kind: type) -> bool:
    return issubclass(kind, Reactive)


def curve(schedule: Schedule, points: int = 200) -> list[tuple[float, float]]:
    """(progress, multiplier) from 0 to 1, evenly; of a reactive schedule, the curve that it has without a history.

    Raises ValueError for fewer than two points.
    """
    if points < 2:
        raise ValueError(f"a curve of {points} points has no start and end; ask for at least 2")
    return [(number / (points - 1), schedule(number / (points - 1))) for number in range(points)]
