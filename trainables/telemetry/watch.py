"""Looking at a device while it works."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trainables.telemetry.gpu import Sample

PACE, FIRST = 1.0, 0.2
"""Seconds between two looks, over which drivers average power and use, and before the first one."""


class Watch:
    """Looks every second, on a thread that lives while a block runs; between blocks nothing is looked at.

    A look is eight short calls of the library, in which other threads go on.
    """

    def __init__(self, look: Callable[[], Sample], *, pace: float = PACE, first: float = FIRST) -> None:
        self._look, self._pace = look, pace
        self._due = time.monotonic() + first
        self._seen = Seen()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Look for as long as the block runs."""
        over = threading.Event()
        thread = threading.Thread(target=self._run, args=(over,), name="telemetry", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def seen(self) -> Seen:
        """What was seen since the last call; asked for outside of blocks."""
        seen, self._seen = self._seen, Seen()
        return seen

    @property
    def shared(self) -> bool:
        """True when others were seen to compute on the device since the last ``seen``."""
        return self._seen.shared

    def _run(self, over: threading.Event) -> None:
        while not over.wait(max(0.0, self._due - time.monotonic())):
            self._seen.add(self._look())
            self._due = time.monotonic() + self._pace


class Seen:
    """What the looks of an epoch come to."""

    def __init__(self) -> None:
        self._sums: dict[str, float] = {}
        self._counts: dict[str, int] = {}
        self._most: dict[str, float] = {}
        self.reasons: set[str] = set()
        self.shared = False

    def add(self, sample: Sample) -> None:
        """Take in one look."""
        throttled = None if sample.throttled is None else 100.0 * bool(sample.throttled)
        for name, value in (
            ("held_bytes", sample.held_bytes),
            ("percent", sample.percent),
            ("watts", sample.watts),
            ("celsius", sample.celsius),
            ("throttled_percent", throttled),
        ):
            if value is not None:
                self._sums[name] = self._sums.get(name, 0.0) + value
                self._counts[name] = self._counts.get(name, 0) + 1
                self._most[name] = max(self._most.get(name, value), value)
        self.reasons |= sample.throttled or frozenset()
        self.shared = self.shared or sample.shared

    def figures(self) -> dict[str, float]:
        """By the names of a history's row: memory and temperature at their most, the others in the mean."""
        most = {f"system/gpu_{name}": self._most[name] for name in ("held_bytes", "celsius") if name in self._most}
        means = ("percent", "watts", "throttled_percent")
        return most | {
            f"system/gpu_{name}": self._sums[name] / self._counts[name] for name in means if name in self._sums
        }
