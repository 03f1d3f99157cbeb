"""Whether the machine is kept busy: the training waits for its input, or a device has little to do. Only what the rows tell."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from analysis import units
from analysis.doctor import changes
from analysis.doctor.course import Course, Group
from analysis.doctor.finding import Disease, Finding, found

WAITING = 0.25
"""A share of the time spent waiting for input that is worth a finding."""

IDLE = 0.5
"""A device that is busy for less than this share of the time is idle."""

LEAST = 2.0
"""Seconds of training in all finals below which nothing is said of cost: starting is then most of it."""


def slow_input(group: Group) -> Finding | None:
    """Training waits for batches for a good part of its time, in the runs that were profiled."""
    shares = group.waits
    sick = [one for one, share in shares.items() if share > WAITING]
    if not sick or len(sick) * 2 <= len(shares) or _seconds(group) < LEAST:
        return None
    share = float(np.median([shares[one] for one in sick]))
    depth = changes.number(group, "prefetch.depth")
    return found(
        Disease.INPUT,
        level=group.label,
        trials=sick,
        of=len(shares),
        evidence=f"{100 * share:.0f} % of the time is spent waiting for batches ({len(sick)} of {len(shares)} "
        "finals that were profiled)",
        change=f"prefetch.depth {depth:.0f} -> {2 * depth:.0f}" if depth else "prefetch=Prefetch(depth=2)",
        strength=share,
    )


def idle_device(group: Group) -> Finding | None:
    """A GPU is busy for less than half of the time; without one, the cores that a run was given are."""
    for name, what in (("system/gpu_percent", "GPU"), ("cpu", "cores")):
        busy = {course.id: share for course in group.courses if (share := _busy(course, name, group)) is not None}
        if not busy:
            continue
        sick = [one for one, share in busy.items() if share < IDLE]
        if not sick or len(sick) * 2 <= len(busy) or _seconds(group) < LEAST:
            return None
        share = float(np.median([busy[one] for one in sick]))
        return found(
            Disease.DEVICE,
            level=group.label,
            trials=sick,
            of=group.size,
            evidence=f"the {what} of a run {'is' if what == 'GPU' else 'are'} busy for {100 * share:.0f} % of the time "
            f"({len(sick)} of {group.size} finals, {units.seconds(_seconds(group))} of training)",
            change=_fuller(group) if what == "GPU" else _fewer(group, share),
            strength=1 - share / IDLE,
        )
    return None


def _busy(course: Course, name: str, group: Group) -> float | None:
    """The share of the time in which a device is busy; of one core there is nothing to be idle beside it."""
    if name != "cpu":
        values = [float(row[name]) / 100 for row in course.rows if isinstance(row.get(name), int | float)]
        return float(np.median(values)) if values else None
    cores = _cores(group)
    share = _share(course, "cpu_seconds", "wall_seconds")
    return share / cores if share is not None and cores > 1 and "gpu_seconds" not in course.rows[-1] else None


def _cores(group: Group) -> float:
    """The threads of a run over all its workers."""
    workers = changes.number(group, "resources.workers") or 1
    return (changes.number(group, "resources.cpus") or 1) * workers


def _share(course: Course, part: str, whole: str) -> float | None:
    """What one sum of the rows is of another, the first epoch left out, which also starts things; None where it is not known."""
    rows = [
        row for row in course.rows if isinstance(row.get(part), int | float) and isinstance(row.get(whole), int | float)
    ]
    if len(rows) < 2:
        return None
    first, last = rows[0], rows[-1]
    spent = last[whole] - first[whole]
    return float((last[part] - first[part]) / spent) if spent > 0 else None


def waits(folder: Path) -> dict[str, float]:
    """The share of the time that each profiled trial waited for its input, by id; a profile that cannot be read is none."""
    found = {}
    for path in sorted((folder / "artifacts").glob("*/profile.json")):
        try:
            phases = {phase["phase"]: float(phase["share"]) for phase in json.loads(path.read_text())["phases"]}
        except (OSError, ValueError, KeyError, TypeError):
            continue
        found[path.parent.name] = phases.get("data", 0.0)
    return found


def _seconds(group: Group) -> float:
    return float(sum(_last(course.rows, "seconds") for course in group.courses))


def _last(rows: Sequence[object], name: str) -> float:
    row = rows[-1] if rows else {}
    value = row.get(name) if isinstance(row, dict) else None
    return float(value) if isinstance(value, int | float) else 0.0


def _fuller(group: Group) -> str:
    """More samples at a time for a device that waits for work."""
    micro, batch = changes.number(group, "micro_batch"), changes.number(group, "batch_size")
    if micro is not None and batch is not None and micro < batch:
        return f"micro_batch {micro:.0f} -> {min(batch, 4 * micro):.0f}"
    return f"batch_size {batch:.0f} -> {4 * batch:.0f}" if batch else "batch_size times 4"


def _fewer(group: Group, share: float) -> str:
    """As many cores as a run keeps busy: more runs then go side by side."""
    cpus = changes.number(group, "resources.cpus") or 1
    if cpus > 1:
        return f"resources.cpus {cpus:.0f} -> {max(1, round(cpus * share)):.0f}"
    workers = changes.number(group, "resources.workers") or 1
    return f"resources.workers {workers:.0f} -> 1"
