"""A stopwatch by phase, with what else there is to be counted."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch

from trainables.telemetry.gpu import gpu_of
from trainables.telemetry.process import Process
from trainables.telemetry.watch import Watch


class Meter:
    """A stopwatch by phase that stands still between epochs, while the caller reports or saves.

    ``seconds`` is wall time in training alone, which is what reaching a target is measured in; ``wall_seconds`` adds validation.
    A phase within another has its time to itself. The energy is what the device's own counter says between the beginning of an
    epoch's first phase and the end of its last; where others compute on the device too, nobody knows whose it is.
    """

    def __init__(self, device: torch.device, *, process: Process | None = None) -> None:
        self._device = device
        self._phases: dict[str, float] = {}
        self._cpu = 0.0
        self._open: str | None = None
        self._last = (0.0, 0.0)
        self._process = process or Process()
        self._gpu = gpu_of(device)
        self._watch = Watch(self._gpu.look) if self._gpu is not None else None
        self._counted: int | None = None
        self._counting = False
        self._reasons: frozenset[str] = frozenset()
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Time a block; on a GPU the device is waited for at its end, so that the phase holds its own work."""
        outer, self._open = self._open, name
        if outer is None:
            self._count()
        else:
            self._wait()
        self._lap(outer)
        with self._watch.running() if self._watch is not None and outer is None else nullcontext():
            yield
            self._wait()
        self._lap(name)
        self._open = outer

    def read(self) -> dict[str, float]:
        """Seconds by phase since the last ``used``."""
        return dict(self._phases)

    def used(self) -> dict[str, float]:
        """What was used since the last call, by the names that a history row has; what is not known is absent.

        Beside sums these are the ``system/`` figures of this time, and the peak of memory since the run began: of the device's
        allocations on a GPU, of what the process holds (libraries included) on a CPU.
        """
        wall = sum(self._phases.values())
        used = {"seconds": self._phases.get("train", 0.0), "wall_seconds": wall, "cpu_seconds": self._cpu}
        if self._device.type == "cuda":
            used["gpu_seconds"] = wall
        used |= self._of_process(wall) | self._of_gpu()
        self._phases, self._cpu = {}, 0.0
        return used

    def throttled(self) -> str | None:
        """Why the device's clocks were held down in the time of the last ``used``; None where they were not, or unknown."""
        return ", ".join(sorted(self._reasons)) or None

    def joules(self) -> float | None:
        """Energy since the epoch began, asked for within it by who keeps a state of it; None where it is not known."""
        return self._energy(self._watch.shared) if self._watch is not None else None

    def _of_process(self, wall: float) -> dict[str, float]:
        held, group = self._process.held(), self._process.group
        in_group = group.held() if group is not None else None
        limit = group.limit if group is not None else None
        peak = int(torch.cuda.max_memory_allocated(self._device)) if self._device.type == "cuda" else held.most
        found = {
            "peak_bytes": peak,
            "system/rss_bytes": held.now,
            "system/cpu_percent": 100 * self._cpu / wall / self._process.cpus if wall > 0 else None,
            "system/cgroup_bytes": in_group,
            "system/cgroup_percent": 100 * in_group / limit if in_group is not None and limit else None,
        }
        return {name: value for name, value in found.items() if value is not None}

    def _of_gpu(self) -> dict[str, float]:
        if self._gpu is None or self._watch is None:
            return {}
        seen = self._watch.seen()
        joules = self._energy(seen.shared)
        self._reasons, self._counting = frozenset(seen.reasons), False
        return seen.figures() | ({"joules": joules} if joules is not None else {})

    def _energy(self, shared: bool) -> float | None:
        """What the counter says since the epoch began; None where others were seen to compute on the device too."""
        before, now = self._counted, self._gpu.millijoules() if self._gpu is not None else None
        # A counter that has gone back was begun anew, with a driver that was loaded again.
        if self._gpu is None or before is None or now is None or now < before or shared or self._gpu.shared():
            return None
        return (now - before) / 1000

    def _count(self) -> None:
        """Note where the counter of energy stands as an epoch begins."""
        if self._gpu is not None and not self._counting:
            self._counted, self._counting = self._gpu.millijoules(), True

    def _wait(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)

    def _lap(self, name: str | None) -> None:
        """Give what has passed since the last call to a phase; to none while the watch stood still."""
        now = (time.perf_counter(), time.process_time())
        if name is not None:
            self._phases[name] = self._phases.get(name, 0.0) + now[0] - self._last[0]
            self._cpu += now[1] - self._last[1]
        self._last = now
