"""Capacity: how many trials fit on the machines that are there, and on those that a cluster can grow to."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from analysis import units
from sweeps.engine.errors import QuestionError
from sweeps.engine.spec import Resources

MOST_AT_ONCE = 256
"""Trials that are started for machines which are yet to come; what is there already is used whole."""

SHOWN = 4
"""Kinds of machines that a message names."""

GRAIN = 10_000
"""Ray counts resources in parts of this size; a third of a device is 0.3333 of it, three of which fit."""

PROXIES = 1024.0
"""Bytes of a machine's memory that are left for the proxies: a trial whose workers are Ray Train's takes one byte beside them."""

ACCELERATOR = "accelerator_type:"
"""What Ray puts before the type of a machine's GPUs to make a resource of it."""

Amounts = Mapping[str, float]
"""Resources by Ray's names: ``CPU``, ``GPU``, ``memory`` in bytes, ``accelerator_type:A100``."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Node:
    """A machine, and what all of it holds."""

    name: str
    holds: Amounts
    head: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Growth:
    """What a cluster can grow by beside its head: kinds of machines, how many of each, ``most`` in all.

    ``machines`` are the addresses of one's own machines where the cluster's file names them; what they hold is known only when they
    are there.
    """

    kinds: tuple[tuple[Node, int], ...] = ()
    most: int = 0
    machines: tuple[str, ...] = ()

    def absent(self, nodes: Sequence[Node]) -> list[str]:
        """Those of the machines named that are not there."""
        there = {node.name for node in nodes}
        return [address for address in self.machines if address not in there]


FIXED = Growth()
"""A cluster that does not grow."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Fit:
    """How many trials fit at once, ``now`` and once the cluster has grown; ``note`` says what a person should know of it."""

    now: int
    grown: int
    note: str = ""

    @property
    def concurrency(self) -> int:
        """Trials that are started: as many as there will be room for."""
        return max(self.now, min(self.grown, MOST_AT_ONCE))


def bundle(resources: Resources) -> dict[str, float]:
    """What one worker takes, by Ray's names; a GPU's type by a thousandth, as Ray Train asks for it. ``gpus`` must be settled."""
    wanted = {"CPU": float(resources.cpus), "GPU": resources.gpus or 0.0, "memory": float(resources.memory_bytes or 0)}
    if resources.gpu_type is not None and resources.gpus:
        wanted[f"{ACCELERATOR}{resources.gpu_type}"] = 0.001
    return {name: amount for name, amount in wanted.items() if amount}


def settled(resources: Resources, nodes: Sequence[Node], growth: Growth = FIXED) -> Resources:
    """The same with ``gpus`` None decided: one where there are any, now or after growing, else none."""
    if resources.gpus is not None:
        return resources
    some = any(node.holds.get("GPU", 0.0) >= 1 for node in _kinds(nodes, growth))
    return replace(resources, gpus=1.0 if some else 0.0)


def slots(holds: Amounts, wanted: Amounts) -> int:
    """How many bundles of what is wanted a machine holds at once; a part of a GPU never spans two of them."""
    return min((_times(name, holds.get(name, 0.0), amount) for name, amount in wanted.items() if amount), default=0)


def room(wanted: Amounts, nodes: Sequence[Node], growth: Growth = FIXED) -> int:
    """How many such bundles fit at once on all machines, grown as far as it helps.

    Each is on one machine. They are all alike, so that counting them on each machine is exact.
    """
    now = sum(slots(node.holds, wanted) for node in nodes)
    left, grown = growth.most, sum(slots(node.holds, wanted) for node in nodes if node.head)
    for each, count in sorted(((slots(kind.holds, wanted), count) for kind, count in growth.kinds), reverse=True):
        taken = min(left, count)
        left, grown = left - taken, grown + taken * each
    return max(now, grown)


def fit(resources: Resources, nodes: Sequence[Node], growth: Growth = FIXED) -> Fit:
    """How many trials of ``resources.workers`` workers fit at once; ``gpus`` must be settled.

    A worker is on one machine, those of a trial may spread over several. Raises QuestionError, with the sum and the ways out, when
    not one fits, not even after growing.
    """
    wanted = bundle(resources)
    now, grown = (room(wanted, nodes, reach) // resources.workers for reach in (FIXED, growth))
    if grown < 1:
        raise QuestionError(_refusal(resources, nodes, growth))
    notes = []
    if grown > now:
        more = count(min(growth.most, sum(number for _, number in growth.kinds)), "machine")
        notes.append(
            f"{count(now, 'trial')} at once on what is there; the cluster can grow by {more}, to {grown} at once."
        )
    absent = growth.absent(nodes)
    if absent:
        notes.append(f"The cluster's file also names {', '.join(absent)}, which Ray does not see.")
    return Fit(now=now, grown=grown, note=" ".join(notes))


def _times(name: str, there: float, amount: float) -> int:
    if name == "memory":
        there = max(there - PROXIES, 0.0)
    grains, each = round(there * GRAIN), max(round(amount * GRAIN), 1)
    if name == "GPU" and each < GRAIN:
        return int(there) * (GRAIN // each)
    return grains // each


def _kinds(nodes: Sequence[Node], growth: Growth) -> list[Node]:
    return [*nodes, *(kind for kind, _ in growth.kinds)]


def arithmetic(resources: Resources, nodes: Sequence[Node], growth: Growth = FIXED) -> str:
    """The sum in words: what a trial takes, and what there is; ``gpus`` must be settled."""
    takes = amounts(bundle(resources))
    if resources.workers > 1:
        total = {name: amount * resources.workers for name, amount in bundle(resources).items()}
        takes = f"{resources.workers} workers x ({takes}) = {amounts(total)}"
    parts = [f"a trial takes {takes}", _inventory(nodes, resources)]
    if growth.kinds:
        kinds = ", ".join(f"{number} x {kind.name} ({_shown(kind.holds, resources)})" for kind, number in growth.kinds)
        parts.append(f"the cluster can grow by {kinds}, {count(growth.most, 'machine')} at most")
    if resources.workers > 1:
        places = room(bundle(resources), nodes, growth)
        parts.append(f"{count(places, 'worker')} fit{'s' if places == 1 else ''}")
    return "; ".join(parts)


def _refusal(resources: Resources, nodes: Sequence[Node], growth: Growth) -> str:
    """The sum, and what would fit."""
    ways = list(_ways_out(resources, nodes, growth))
    out = "Set " + ", or ".join(ways) if ways else "Add machines, or lower what the sweep asks for"
    return f"{arithmetic(resources, nodes, growth)}. {out}"


def _ways_out(resources: Resources, nodes: Sequence[Node], growth: Growth) -> Iterator[str]:
    """Changes of one setting with which a trial fits."""

    def fits(changed: Resources) -> bool:
        return room(bundle(changed), nodes, growth) >= changed.workers

    places, memory, gpus = room(bundle(resources), nodes, growth), resources.memory_bytes or 0, resources.gpus or 0.0
    if 0 < places < resources.workers:
        yield f"--workers {places}"
    for cpus in range(resources.cpus - 1, 0, -1):
        if fits(replace(resources, cpus=cpus)):
            yield f"Resources(cpus={cpus})"
            break
    # Workers of one trial cannot share a device: NCCL refuses it.
    for share in (1.0, 0.5, 0.25, 0.0) if resources.workers == 1 else (1.0, 0.0):
        if share < gpus and fits(replace(resources, gpus=share)):
            yield f"Resources(gpus={share:g})" + ("" if share else ", which trains on CPUs")
            break
    if resources.gpu_type is not None:
        for name in sorted({name for node in _kinds(nodes, growth) for name in _types(node.holds)}):
            if fits(replace(resources, gpu_type=name)):
                yield f'Resources(gpu_type="{name}")'
    for less in (memory // part for part in (2, 4, 8) if memory):
        if fits(replace(resources, memory_bytes=less)):
            yield f"Resources(memory_bytes={less})"
            break


def _inventory(nodes: Sequence[Node], resources: Resources) -> str:
    """What is there, machine by machine, those that are alike together, and in all."""
    alike: dict[str, list[Node]] = {}
    for node in nodes:
        alike.setdefault(_shown(node.holds, resources), []).append(node)
    if len(nodes) == 1:
        return f"there is one machine with {next(iter(alike))}"
    kinds = [
        f"{'head ' * group[0].head}{group[0].name} {held}" if len(group) == 1 else f"{len(group)} x ({held})"
        for held, group in alike.items()
    ]
    if len(kinds) > SHOWN:
        kinds = [*kinds[:SHOWN], f"{len(kinds) - SHOWN} other kinds"]
    total: Counter[str] = Counter()
    for node in nodes:
        total.update({name: amount for name, amount in node.holds.items() if name in ("CPU", "GPU", "memory")})
    return f"there are {len(nodes)} machines: {'; '.join(kinds)}; in all {_shown(total, resources)}"


def _shown(holds: Amounts, resources: Resources) -> str:
    """What a machine holds of CPUs and GPUs, and of what else is asked for."""
    kept = {"CPU": 0.0, "GPU": 0.0} | ({"memory": 0.0} if resources.memory_bytes else {})
    return amounts(
        {name: holds.get(name, 0.0) for name in kept} | {name: 1.0 for name in holds if name.startswith(ACCELERATOR)}
    )


def amounts(held: Amounts) -> str:
    """Resources in words: ``2 CPUs, 1 GPU A100, 8.59 GB of memory``; other resources by name."""
    parts = []
    for name, amount in held.items():
        if name == "memory":
            parts.append(f"{units.size(amount)} of memory")
        elif name == "GPU":
            parts.append(" ".join([count(amount, name), *_types(held)]))
        elif not name.startswith(ACCELERATOR):
            parts.append(count(amount, name))
    return ", ".join(parts)


def _types(held: Amounts) -> list[str]:
    return [name.removeprefix(ACCELERATOR) for name in held if name.startswith(ACCELERATOR)]


def count(number: float, noun: str) -> str:
    """A number of things: ``1 GPU``, ``0.5 GPUs``."""
    return f"{math.floor(number * GRAIN + 0.5) / GRAIN:g} {noun}{'' if number == 1 else 's'}"
