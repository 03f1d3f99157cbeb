"""What a validation policy is to the loop."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from trainables.run import Run
    from trainables.task import Maximise, Minimise


@runtime_checkable
class Validation(Protocol):
    """When a run is validated, and by how much of its validation sets.

    A value under its plain name, ``val/accuracy`` or ``val_night/accuracy``, always stems from every sample of the set. By those
    alone go the best epoch, early stopping, schedules, searches and finals, and the test set is asked only where such a value is
    the best so far. An epoch without a full pass has none of them in its row; what is known of it instead has the policy's ``kind``
    at the end of its name, ``val/accuracy_sample``. The last epoch of a run has its full pass whatever the policy says.

    A policy remembers nothing: all it goes by is the history and what is drawn from the seed, so that a run goes on anywhere, and
    all of several workers agree.
    """

    @property
    def kind(self) -> str:
        """What the names of approximate values end in."""
        ...

    def full(self, epoch: int, epochs: int, history: Sequence[Mapping[str, Any]], goal: Maximise | Minimise) -> bool:
        """Whether epoch ``epoch`` (from 1) of ``epochs`` ends with a full pass; ``history`` has the rows of those before it."""
        ...

    def instead(self, run: Run) -> Mapping[str, float]:
        """What is measured where there is no full pass, and within epochs, under plain names; nothing if nothing is.

        All workers ask at the same moment and get the same.
        """
        ...

    def within(self, steps: int) -> frozenset[int]:
        """The batches, from 1, of an epoch of so many steps after which the run is looked at too; the last is the epoch's end."""
        ...

    def conflicts(self) -> Iterator[str]:
        """What is wrong with the settings."""
        ...


@runtime_checkable
class Picking(Protocol):
    """A policy that asks for samples by number."""

    @property
    def picks(self) -> bool:
        """Whether it does with these settings; a stream has no numbers."""
        ...


@runtime_checkable
class Preparing(Protocol):
    """A policy that makes something of the model before the first step, and finds out there whether it can."""

    def prepare(self, run: Run) -> None:
        """Raises ConflictError, naming the model and the way out, for one that it cannot ask."""
        ...


@runtime_checkable
class Beside(Protocol):
    """A policy that measures its own values at full passes too, so that the history says how far they are off."""

    @property
    def beside(self) -> bool:
        """Whether it does with these settings."""
        ...


def due(
    policy: Validation, epoch: int, epochs: int, history: Sequence[Mapping[str, Any]], goal: Maximise | Minimise
) -> bool:
    """Whether this epoch ends with a full pass; the last one does."""
    return epoch >= epochs or policy.full(epoch, epochs, history, goal)


def whole(part: str, name: str, value: object, unit: str) -> Iterator[str]:
    """The conflict of a setting that is no whole number from 1."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        yield f"{part} {name} {value!r} must be a whole number of {unit} from 1"


def sharing(part: str, name: str, value: object, *, all_of_it: str) -> Iterator[str]:
    """The conflict of a share that does not lie above 0 and up to 1; ``all_of_it`` says what 1 would be."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 1:
        yield f"{part} {name} {value!r} must lie above 0 and not above 1, which {all_of_it}"
