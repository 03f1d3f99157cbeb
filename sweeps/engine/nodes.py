"""The machines of a cluster before anything is launched: all there, with the same code, and the same folder in sight."""

from __future__ import annotations

import os
import platform
import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from sweeps.engine import cluster
from sweeps.engine.capacity import Growth, Node
from sweeps.engine.errors import QuestionError
from sweeps.engine.machine import one_root, source_hash

ANSWER_SECONDS = 120.0
"""How long a node may take to answer: it starts a Python process for it, perhaps beside others."""

ARRIVAL_SECONDS = 180.0
"""How long the machines that the cluster's file names are waited for: ``ray up`` returns when the head is up, not the workers."""

LOOK_SECONDS = 1.0
"""How often the driver looks whether they have come."""

LIBRARIES = ("torch", "ray", "numpy")
"""What must be of one version, beside Python, for pickles to be read and numbers to agree."""

AGAIN = "run `ray up` with the cluster's file again, which brings the same files and libraries to all nodes (and restarts Ray)"


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What a node says of itself; ``name`` is its host name and address.

    ``sees``: the file that the driver has just written to the sweep's folder is there. ``seen``: the driver sees what the node has
    written beside it. ``absent`` are files of the task that are not there. ``fault`` is why the node could not answer.
    """

    name: str
    source: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    sees: bool = True
    seen: bool = True
    absent: Sequence[str] = ()
    fault: str | None = None


def awaited(growth: Growth, say: Callable[[str], None], *, seconds: float = ARRIVAL_SECONDS) -> list[Node]:
    """The machines that are there, once those that the cluster's file names have come, or their time is over."""
    deadline, said = time.monotonic() + seconds, False
    while absent := growth.absent(there := cluster.here()):
        if time.monotonic() > deadline:
            break
        if not said:
            say(f"Waiting for {', '.join(absent)} to join Ray, {seconds / 60:.0f} minutes at most …")
            said = True
        time.sleep(LOOK_SECONDS)
    return there


def agree(folder: Path, files: Sequence[str]) -> None:
    """Check that all nodes run the driver's code, see the sweep's folder, and the files that the task reads.

    Does nothing on one machine; Ray must be up. A node that joins later is not checked. Raises QuestionError, naming node, values
    and way out.
    """
    if not _several():
        return
    driver = Answer(name=platform.node(), **_here(files))
    found = conflicts(_answers(folder, files), driver, folder)
    if found:
        raise QuestionError("\n  ".join(["nothing was started, since the cluster's nodes differ:", *found]))


def conflicts(nodes: Sequence[Answer], driver: Answer, folder: Path) -> list[str]:
    """Why trials there would not be the driver's: a line for each node and reason, with the way out; empty when all agree."""
    found = [f"{node.name}: {node.fault}" for node in nodes if node.fault is not None]
    answered = [node for node in nodes if node.fault is None]
    for node in answered:
        if node.source != driver.source:
            found.append(
                f"{node.name} has source {node.source}, {driver.name}, where this command runs, has {driver.source}: {AGAIN}"
            )
        for name, version in driver.versions.items():
            other = node.versions.get(name, "none")
            if other != version:
                found.append(f"{node.name} has {name} {other}, {driver.name} has {version}: {AGAIN}")
        if not (node.sees and node.seen):
            what = "does not see" if not node.sees else "cannot write to"
            found.append(
                f"{node.name} {what} {folder} of {driver.name}: mount the shared storage there, or name a folder in it by --runs "
                "or REGATTA_RUNS"
            )
        found += [
            f"{node.name} has no file {name}: put it into the shared storage and give its whole path"
            for name in node.absent
        ]
    return found


@contextmanager
def scratch(folder: Path) -> Iterator[Path]:
    """Where Tune and Train keep files of their own for as long as a sweep runs: in the sweep's folder on a cluster.

    They check that all workers see that place, also those of nodes that come later.
    """
    if "RAY_ADDRESS" not in os.environ:
        with TemporaryDirectory(prefix="regatta-tune-") as place:
            yield Path(place)
        return
    shared = folder.resolve() / ".tune"
    shutil.rmtree(shared, ignore_errors=True)  # a driver that was killed leaves it
    shared.mkdir()
    try:
        yield shared
    finally:
        shutil.rmtree(shared, ignore_errors=True)


def _several() -> bool:
    """True when Ray is up on more than one node."""
    import ray

    return ray.is_initialized() and len(cluster.here()) > 1


def _here(files: Sequence[str]) -> dict[str, Any]:
    """What this process can say of its machine."""
    versions = {"Python": platform.python_version()} | {name: metadata.version(name) for name in LIBRARIES}
    absent = [name for name in files if not Path(name).is_file()]
    return {"source": source_hash(None), "versions": versions, "absent": absent, "fault": one_root()}


def _answers(folder: Path, files: Sequence[str]) -> list[Answer]:
    """Ask every node that is alive, all at once."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    probe = folder.resolve() / f".probe-{uuid.uuid4().hex[:12]}"
    probe.mkdir()
    try:
        (probe / "driver").touch()
        ask = _question()
        asked = {}
        for node in ray.nodes():
            if node["Alive"]:
                pinned = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
                reference = ask.options(scheduling_strategy=pinned).remote(str(probe), node["NodeID"], list(files))
                asked[reference] = (node["NodeID"], f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']})")
        done, _ = ray.wait(list(asked), num_returns=len(asked), timeout=ANSWER_SECONDS)
        return [_answer(probe, *names, reference if reference in done else None) for reference, names in asked.items()]
    finally:
        shutil.rmtree(probe, ignore_errors=True)


def _answer(probe: Path, node: str, name: str, reference: Any) -> Answer:
    """One node's answer; ``reference`` is None when it has not come."""
    import ray

    if reference is None:
        return Answer(
            name=name,
            fault=f"no answer in {ANSWER_SECONDS:.0f} s; look at it, or take it out of the cluster",
        )
    try:
        said = ray.get(reference)
    except ray.exceptions.RayError as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raised = isinstance(error, ray.exceptions.RayTaskError)  # a traceback, which ends with what was raised
        return Answer(name=name, fault=f"could not answer ({lines[-1 if raised else 0]})")
    return Answer(name=name, seen=(probe / node).is_file(), **said)


def _question() -> Any:
    """The task that a node runs. It travels by value, so that a node without this very code can answer too."""
    import ray

    def ask(probe: str, node: str, files: list[str]) -> dict[str, Any]:
        sees = os.path.isfile(f"{probe}/driver")  # noqa: PTH113
        try:
            with open(f"{probe}/{node}", "w"):  # noqa: PTH123
                pass
        except OSError:
            pass  # the driver will not see it
        try:
            from sweeps.engine.nodes import _here
        except Exception as error:
            return {
                "sees": sees,
                "fault": f"cannot import the code of this sweep ({type(error).__name__}: {error}): {AGAIN}",
            }
        return {"sees": sees, **_here(files)}

    return ray.remote(num_cpus=0, max_retries=0)(ask)
