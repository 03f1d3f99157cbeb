"""What is asked of a profile."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Profile:
    """Time a run by phase. It is no part of the recipe, and changes nothing that is learned.

    ``trace`` is the first and the last step of which torch's own profiler writes a trace, for ui.perfetto.dev or
    chrome://tracing: steps as this process takes them, from 1. While it writes, steps take several times as long.
    """

    trace: tuple[int, int] | None = None

    def conflicts(self) -> Iterator[str]:
        """What is wrong with the settings."""
        if self.trace is None:
            return
        steps = self.trace
        if not isinstance(steps, tuple) or len(steps) != 2 or not all(type(step) is int for step in steps):
            yield f"Profile trace {steps!r} must be two whole numbers, the first and the last step: trace=(10, 14)"
        elif not 1 <= steps[0] <= steps[1]:
            yield f"Profile trace {steps!r}: steps are counted from 1, and the last is not before the first: trace=(10, 14)"
