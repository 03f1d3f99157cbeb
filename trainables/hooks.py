"""Hooks: one's own code around the epochs of a run."""

from __future__ import annotations

import warnings
from collections.abc import Generator, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Protocol

from trainables.describe import name_of

if TYPE_CHECKING:
    from trainables.fit import Epoch


class Hook(Protocol):
    """A generator function over the epochs of a run; a part with settings and ``__call__`` works as well.

    What comes before its loop runs before the first epoch, what comes after ``yield`` once the epoch has been handed
    over to be written, what comes after
    its loop at the run's end, and what stands in a ``finally`` also when the run is stopped or fails::

        def weight_norm(epochs):
            for epoch in epochs:
                norms = [p.norm() for p in epoch.run.module.parameters()]
                epoch.run.history[-1]["train/weight_norm"] = float(torch.stack(norms).norm())
                yield epoch

    A number put into the history's last row before the ``yield`` is logged like any metric. A hook may end the run early by
    returning. One that raises fails the trial, under the hook's own name; the epochs before are kept. Of several workers each
    runs it.
    """

    def __call__(self, epochs: Iterator[Epoch]) -> Iterator[Epoch]:
        """Each epoch, once and in order."""
        ...


class HookError(Exception):
    """A hook raised, or did not hand on an epoch; the hook's own exception is its cause."""


def hooked(epochs: Iterable[Epoch], hooks: Sequence[Hook]) -> Generator[Epoch]:
    """The epochs with every hook around them, the first one innermost."""
    stream = iter(epochs)
    for hook in hooks:
        stream = _around(stream, hook)
    yield from stream


def _around(epochs: Iterator[Epoch], hook: Hook) -> Iterator[Epoch]:
    """Raises HookError where the hook raises, hands on nothing, or another epoch than the one it was given; other errors pass."""
    name, inner = name_of(hook), _Watched(epochs)
    stream = hook(inner)
    try:
        while True:
            given = inner.given
            try:
                epoch = next(stream)
            except StopIteration:
                return
            except Exception as error:
                if error is inner.raised:
                    raise
                raise HookError(f"the hook {name} raised {type(error).__name__}: {error}") from error
            if inner.given != given + 1 or epoch is not inner.last:
                raise HookError(f"the hook {name} must yield every epoch it is given, once and in order")
            yield epoch
    finally:
        close = getattr(stream, "close", None)
        if close is not None:
            try:
                close()
            except Exception as error:  # the run has ended, and what ended it must not be replaced
                warnings.warn(
                    f"the hook {name} raised {type(error).__name__} while it was ended: {error}", stacklevel=2
                )


class _Watched:
    """The epochs as a hook asks for them: how many, the last one, and what the loop itself raised."""

    def __init__(self, epochs: Iterator[Epoch]) -> None:
        self._epochs = epochs
        self.given = 0
        self.last: Epoch | None = None
        self.raised: Exception | None = None

    def __iter__(self) -> Iterator[Epoch]:
        return self

    def __next__(self) -> Epoch:
        try:
            self.last = next(self._epochs)
        except StopIteration:
            raise
        except Exception as error:
            self.raised = error
            raise
        self.given += 1
        return self.last
