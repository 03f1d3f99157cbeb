"""A trace of some steps, by torch's own profiler."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile, record_function


class Trace:
    """Watches steps ``first`` to ``last``, counted from 1, and writes them to ``path`` for Chrome's viewer; ``.gz`` packs it.

    The phases of a step are marked in it by their names. A run that ends before its last step leaves what there is, and one that
    ends before the first leaves nothing; ``written`` are the steps that were.
    """

    def __init__(self, first: int, last: int, path: Path, device: torch.device) -> None:
        self.path = path
        self.written: tuple[int, int] | None = None
        self._first, self._last = first, last
        self._activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if device.type == "cuda" else [])]
        self._profile: profile | None = None
        self._range: record_function | None = None
        self._steps = 0

    @property
    def watching(self) -> bool:
        """True from the first step to the last, which are slower for it."""
        return self._profile is not None

    def step_begins(self) -> None:
        """Another step is about to begin."""
        if self._profile is None and self._steps == self._first - 1:
            os.environ.setdefault("KINETO_LOG_LEVEL", "6")  # it would write lines of its own to the terminal
            self._profile = profile(activities=self._activities)
            self._profile.start()

    def step_ended(self) -> None:
        """It has ended."""
        self._steps += 1
        if self._steps == self._last:
            self.close()

    def label(self, phase: str | None) -> None:
        """From here on it is this phase, as far as is known."""
        if self._profile is None:
            return
        if self._range is not None:
            self._range.__exit__(None, None, None)
        self._range = record_function(phase) if phase is not None else None
        if self._range is not None:
            self._range.__enter__()  # type: ignore[no-untyped-call]

    def close(self) -> None:
        """Write what has been watched; nothing where that is done, or was not begun."""
        if self._profile is None:
            return
        self.label(None)
        watched, self._profile = self._profile, None
        watched.stop()
        if self._steps < self._first:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        watched.export_chrome_trace(str(self.path))
        if self.path.is_file():  # where it cannot write, the library says so to the terminal and nobody else
            self.written = (self._first, self._steps)
