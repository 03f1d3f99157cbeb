"""What a run uses up: seconds by phase, CPU time, memory."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch


class Meter:
    """A stopwatch by phase that stands still between epochs, while the caller reports or saves.

    ``seconds`` is wall time in training alone, which is what reaching a target is measured in; ``wall_seconds`` adds validation.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._phases: dict[str, float] = {}
        self._cpu = 0.0
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Time a block; on a GPU the device is waited for at its end, so that the phase holds its own work."""
        wall, cpu = time.perf_counter(), time.process_time()
        yield
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        self._phases[name] = self._phases.get(name, 0.0) + time.perf_counter() - wall
        self._cpu += time.process_time() - cpu

    def read(self) -> dict[str, float]:
        """Seconds by phase since the last ``used``."""
        return dict(self._phases)

    def used(self) -> dict[str, float]:
        """What was used since the last call, by the names that a history row has."""
        wall = sum(self._phases.values())
        used = {"seconds": self._phases.get("train", 0.0), "wall_seconds": wall, "cpu_seconds": self._cpu}
        if self._device.type == "cuda":
            used["gpu_seconds"] = wall
        self._phases, self._cpu = {}, 0.0
        return used

    def peak_bytes(self) -> int:
        """Peak of the device's allocations on a GPU; on a CPU what the process holds now (libraries included)."""
        if self._device.type == "cuda":
            return int(torch.cuda.max_memory_allocated(self._device))
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
