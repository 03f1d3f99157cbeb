"""What this process holds of the memory, and what it may use, as Linux tells it; None where it does not."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

PROC, CGROUPS = Path("/proc"), Path("/sys/fs/cgroup")

NO_LIMIT = 2**60
"""From here on a limit in bytes is none: version 1 writes the largest number that it can count to."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Held:
    """Bytes of memory: what the process holds ``now`` (libraries included), and the ``most`` since its peak was begun anew."""

    now: int | None
    most: int | None


class Process:
    """This process, asked at the end of each epoch: a few small files, and no thread.

    The kernel keeps the peak itself, and begins it anew when asked to. Where it refuses, an older and higher peak hides this
    run's: the peak is then the most that was held when it was asked. Runs side by side in one process share all of it.
    """

    def __init__(self, proc: Path = PROC, cgroups: Path = CGROUPS) -> None:
        self._status = proc / "self" / "status"
        self.cpus = cpus(proc, cgroups)
        self.group = Group.of(proc, cgroups)
        self._anew = _begun_anew(proc)
        self._before = self._read()[1] or 0
        self._most = 0

    def held(self) -> Held:
        """Now, and the peak since this object was made."""
        now, peak = self._read()
        if now is None:
            return Held(now=None, most=None)
        self._most = max(self._most, now)
        known = peak is not None and (self._anew or peak > self._before)
        return Held(now=now, most=peak if known else self._most)

    def _read(self) -> tuple[int | None, int | None]:
        """Resident bytes now, and their peak."""
        text = _text(self._status) or ""
        return _kilobytes(text, "VmRSS"), _kilobytes(text, "VmHWM")


@dataclass(frozen=True, kw_only=True, slots=True)
class Group:
    """The control group that bounds this process's memory, with all that runs in it; ``limit`` is None where there is none."""

    usage: Path
    limit: int | None

    @classmethod
    def of(cls, proc: Path = PROC, cgroups: Path = CGROUPS) -> Self | None:
        """The tightest of the groups that this process is in; where none has a limit, its own. None where there is no such file."""
        found = []
        for folder, first in _levels(proc, cgroups, "memory"):
            usage = folder / ("memory.usage_in_bytes" if first else "memory.current")
            limit = _number(folder / ("memory.limit_in_bytes" if first else "memory.max"))
            if _number(usage) is not None:
                found.append(cls(usage=usage, limit=limit if limit is not None and limit < NO_LIMIT else None))
        limited = [group for group in found if group.limit is not None]
        return min(limited, key=lambda group: group.limit or 0) if limited else next(iter(found), None)

    def held(self) -> int | None:
        """Bytes in use by the whole group, what it has read of files included."""
        return _number(self.usage)


def cpus(proc: Path = PROC, cgroups: Path = CGROUPS) -> float:
    """How many CPUs this process may use at once: what it is bound to, or less where its control group has a quota."""
    try:
        most = float(len(os.sched_getaffinity(0)))
    except AttributeError:  # not on Linux
        most = float(os.cpu_count() or 1)
    for folder, first in _levels(proc, cgroups, "cpu"):
        if first:
            quota, period = _number(folder / "cpu.cfs_quota_us"), _number(folder / "cpu.cfs_period_us")
        else:
            words = (_text(folder / "cpu.max") or "max").split()
            quota, period = (int(words[0]), int(words[1])) if len(words) == 2 and words[0].isdecimal() else (None, None)
        if quota is not None and period and quota > 0:
            most = min(most, quota / period)
    return most


def _levels(proc: Path, cgroups: Path, controller: str) -> Iterator[tuple[Path, bool]]:
    """The folders of this process's control group and of those around it, innermost first; True with those of version 1.

    Inside a container the path may be one of the host's, of which only the root is there.
    """
    for line in (_text(proc / "self" / "cgroup") or "").splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        first = number != "0"
        if first and controller not in controllers.split(","):
            continue
        base = cgroups / controllers if first else cgroups
        if not base.exists():
            base = cgroups / controller
        parts = [part for part in path.split("/") if part]
        inside = [] if ".." in parts else parts
        for depth in range(len(inside), -1, -1):
            yield base.joinpath(*inside[:depth]), first


def _begun_anew(proc: Path) -> bool:
    """Begin the peak of resident memory anew; False where the kernel does not."""
    try:
        (proc / "self" / "clear_refs").write_text("5")
    except OSError:
        return False
    return True


def _kilobytes(text: str, name: str) -> int | None:
    """A line of ``status`` in bytes."""
    _, there, rest = text.partition(f"\n{name}:")
    words = rest.split(maxsplit=1)
    return 1024 * int(words[0]) if there and words and words[0].isdecimal() else None


def _number(path: Path) -> int | None:
    text = (_text(path) or "").strip()
    return int(text) if text.lstrip("-").isdecimal() else None


def _text(path: Path) -> str | None:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError):
        return None
