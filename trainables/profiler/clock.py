"""Marks in time: the computer's, or a GPU's own."""

from __future__ import annotations

import time
from typing import Any, Protocol, final

import torch

Mark = Any
"""A moment; what it is is the clock's affair."""


class Clock(Protocol):
    """Sets marks while the run goes on; what lies between two of them may be asked later."""

    def now(self) -> Mark:
        """A mark here."""
        ...

    def passed(self, begin: Mark, end: Mark) -> float:
        """Seconds between two marks that can be read."""
        ...

    def readable(self, mark: Mark) -> bool:
        """Whether a mark has been reached."""
        ...

    def settle(self) -> None:
        """Wait until all marks have been reached."""
        ...


@final
class Wall:
    """The computer's clock, for what is computed where it is called."""

    def now(self) -> float:
        """Seconds since some moment."""
        return time.perf_counter()

    def passed(self, begin: float, end: float) -> float:
        """Their difference."""
        return end - begin

    def readable(self, mark: float) -> bool:  # noqa: ARG002
        """Always."""
        return True

    def settle(self) -> None:
        """Nothing to wait for."""


@final
class Device:
    """Events in the queue of a GPU: what lies between two of them is the time that the device took, or stood still.

    The loop runs ahead of the device and is not held up. So the wait for a batch is what the device waited for it: none, where the
    next batch was there before the step before was through.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def now(self) -> torch.cuda.Event:
        """An event in the stream that computes."""
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record(torch.cuda.current_stream(self._device))
        return event

    def passed(self, begin: torch.cuda.Event, end: torch.cuda.Event) -> float:
        """By the device's clock, to half a microsecond."""
        return float(begin.elapsed_time(end)) / 1000

    def readable(self, mark: torch.cuda.Event) -> bool:
        """Whether the device has come there."""
        return bool(mark.query())  # type: ignore[no-untyped-call]

    def settle(self) -> None:
        """Wait for the device."""
        torch.cuda.synchronize(self._device)


def clock_of(device: torch.device) -> Clock:
    """The clock for what is computed on a device."""
    return Device(device) if device.type == "cuda" else Wall()
