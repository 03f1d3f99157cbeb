"""Diagnosis: on what the trials of a sweep wait, from what Ray knows of its cluster."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from sweeps.engine.capacity import FIXED, Amounts, Growth, Node, amounts, count, room
from sweeps.engine.cluster import Scene

SHOWN = 3
"""Things of a kind that a message names; the others are counted."""


def reasons(scene: Scene, kind: str, growth: Growth = FIXED) -> str:
    """In words: machines gone, groups of workers without a place, processes that start or are alive. ``kind`` is their class."""
    parts = []
    if scene.gone:
        parts.append(f"gone: {_listed([f'machine {name}' for name in scene.gone])}")
    for group, times in Counter(_shape(group) for group in scene.waiting).most_common(SHOWN):
        parts.append(f"{count(times, 'group')} of workers wait{'s' * (times == 1)} for {group}")
    if scene.waiting:
        never = [group for group in scene.waiting if not possible(group, scene.nodes, growth)]
        if never:
            parts.append("no machine that is there or could come has that")
        elif growth.kinds:
            parts.append("the cluster may still grow")
        else:
            parts.append("others hold what is there")
    parts += [f"{name} is named in the cluster's file, but Ray does not see it" for name in growth.absent(scene.nodes)]
    mine = [process for process in scene.processes if process.kind == kind]
    starting = [process for process in mine if not process.pid]
    if starting:
        parts.append(f"being started: {count(len(starting), 'worker')}")
    alive = [process for process in mine if process.pid]
    if alive:
        where = _listed([f"pid {process.pid} on {process.machine}" for process in alive])
        parts.append(f"alive: {where}; what one does, there: py-spy dump --pid {alive[0].pid}")
    elif not starting:
        parts.append("no process of it is alive")
    return "; ".join(parts)


def hopeless(scene: Scene, kind: str, growth: Growth = FIXED) -> str | None:
    """Why the sweep can never go on by itself; None when it may: a process is there or starts, or a place may come free."""
    if any(process.kind == kind for process in scene.processes):
        return None
    if any(possible(group, scene.nodes, growth) for group in scene.waiting):
        return None
    return reasons(scene, kind, growth)


def possible(group: Sequence[Amounts], nodes: Sequence[Node], growth: Growth = FIXED) -> bool:
    """False when these bundles could never be held together, whatever else ended; a machine of one's own may hold anything."""
    if growth.absent(nodes):
        return True
    shapes = Counter(tuple(sorted(bundle.items())) for bundle in group)
    return all(room(dict(shape), nodes, growth) >= times for shape, times in shapes.items())


def _shape(group: Sequence[Amounts]) -> str:
    shapes = Counter(amounts(bundle) for bundle in group)
    return " and ".join(f"{times} x ({shape})" for shape, times in shapes.items())


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
