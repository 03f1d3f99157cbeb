"""CPU-seconds and wall of a command with everything that it starts, readable while it runs (Linux)."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36
TICK = 1.0 / os.sysconf("SC_CLK_TCK")
PACE_SECONDS = 0.05
"""How often the processes are looked at: the most CPU that one which ends between two looks can hide."""

LINGER_SECONDS = 20.0
"""How long a command's processes may outlive it before they are ended."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    """What had been used up at one moment: ``wall`` since the start, ``cpu`` of all processes, living and gone."""

    wall: float
    cpu: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """A command that has ended: a point for each line that its marks' file gained, and one for the end of its last process."""

    status: int
    marks: Sequence[Point]
    end: Point


@dataclass(slots=True)
class _Process:
    """A process as it was last seen; ``waited`` is what its own children used that it has waited for."""

    parent: int
    cpu: float
    waited: float
    alive: bool = True


@dataclass(slots=True)
class Tree:
    """All processes that come from this one, from now on; it must be the reaper of orphans, so that none is lost.

    A process that is waited for is counted exactly, by its parent. One whose parent ignores SIGCHLD, as Ray's raylet does, is
    waited for by nobody: it is counted as it was last seen. Of the two figures that this gives for the dead children of one
    process, the greater holds.
    """

    pid: int = field(default_factory=os.getpid)
    _base: float = field(default_factory=lambda: _reaped())
    _known: dict[tuple[int, int], _Process] = field(default_factory=dict)
    _strangers: set[int] = field(default_factory=set)
    _looks: int = 0

    def cpu(self) -> float:
        """CPU-seconds of all descendants so far, this process left out."""
        self._look()
        children: dict[int, list[tuple[int, _Process]]] = {}
        for (pid, _), process in self._known.items():
            children.setdefault(process.parent, []).append((pid, process))

        def below(pid: int, waited: float) -> tuple[float, float]:
            """CPU of the living under ``pid``, and of the dead."""
            living = dead = 0.0
            for child, process in children.get(pid, ()):
                inner_living, inner_dead = below(child, process.waited)
                living += inner_living
                if process.alive:
                    living += process.cpu + inner_dead
                else:
                    dead += process.cpu + inner_dead
            return living, max(dead, waited)

        return sum(below(self.pid, _reaped() - self._base))

    def living(self) -> list[int]:
        """The descendants that are there, those included that nobody has waited for yet."""
        self._look()
        return [pid for (pid, _), process in self._known.items() if process.alive]

    def _look(self) -> None:
        """Read every process that may be a descendant; the others are asked for again now and then, as numbers are used again."""
        self._looks += 1
        if self._looks % 20 == 1:
            self._strangers.clear()
        pids = {int(entry.name) for entry in os.scandir("/proc") if entry.name.isdigit()} - self._strangers - {self.pid}
        found = {pid: stat for pid in pids if (stat := _stat(pid)) is not None}
        ours = _descendants(self.pid, {pid: parent for pid, (_, parent, _, _) in found.items()})
        self._strangers |= found.keys() - ours
        for process in self._known.values():
            process.alive = False
        for pid in ours:
            begun, parent, cpu, waited = found[pid]
            self._known[pid, begun] = _Process(parent, cpu, waited)


def measure(
    command: Sequence[str],
    *,
    environment: Mapping[str, str],
    log: Path,
    marks: Path,
    limit: float,
    linger: float = LINGER_SECONDS,
) -> Measured:
    """Run a command to the end of its last process; its output goes to ``log``.

    Processes that outlive the command by ``linger`` seconds are ended. The command itself is after ``limit`` seconds; its status is
    then that of the signal. Raises RuntimeError when this process has children already: they would be counted, and ended.
    """
    tree = Tree()
    if others := tree.living():
        raise RuntimeError(
            f"measure: this process has other children ({', '.join(map(str, others))}), which would be counted and ended;"
            " call it from a process of its own"
        )
    _reaper(True)
    points: list[Point] = []
    begun = time.monotonic()
    with log.open("ab") as output:
        root = subprocess.Popen(
            [*command], env=dict(environment), stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
        )
    ended: float | None = None
    try:
        while True:
            time.sleep(PACE_SECONDS)
            over = _reap(root)
            if over and ended is None:
                ended = time.monotonic()
            lines = marks.read_bytes().count(b"\n") if marks.exists() else 0
            point = Point(wall=time.monotonic() - begun, cpu=tree.cpu())
            points += [point] * (lines - len(points))
            if ended is not None and not tree.living():
                return Measured(status=root.returncode, marks=points, end=point)
            if ended is None and point.wall > limit:
                root.send_signal(signal.SIGKILL)
            if ended is not None and time.monotonic() - ended > linger:
                _end(tree)
    finally:
        while tree.living():
            _end(tree)
            _reap(root)
            time.sleep(PACE_SECONDS)
        _reaper(False)


def _reaper(on: bool) -> None:
    """Have orphans among the descendants come to this process, or no longer. Raises OSError where the kernel refuses."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_CHILD_SUBREAPER, int(on), 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER) failed")


def _end(tree: Tree) -> None:
    """Kill the descendants that are left."""
    for pid in tree.living():
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def _reap(root: subprocess.Popen[bytes]) -> bool:
    """Wait for whatever has ended, orphans too; True when the command itself has."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return root.returncode is not None
        if pid == 0:
            return root.returncode is not None
        if pid == root.pid:
            root.returncode = os.waitstatus_to_exitcode(status)


def _reaped() -> float:
    """CPU-seconds of all that this process has waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _stat(pid: int) -> tuple[int, int, float, float] | None:
    """Start in ticks, parent, CPU-seconds, those of children waited for; None when it is gone."""
    try:
        # The name, in brackets, may itself hold blanks and brackets.
        rest = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    user, system, waited_user, waited_system = (int(value) for value in rest[11:15])
    return int(rest[19]), int(rest[1]), (user + system) * TICK, (waited_user + waited_system) * TICK


def _descendants(pid: int, parents: Mapping[int, int]) -> set[int]:
    """All under ``pid``."""
    children: dict[int, list[int]] = {}
    for child, parent in parents.items():
        children.setdefault(parent, []).append(child)
    found: set[int] = set()
    waiting = [pid]
    while waiting:
        below = children.get(waiting.pop(), [])
        found.update(below)
        waiting += below
    return found
