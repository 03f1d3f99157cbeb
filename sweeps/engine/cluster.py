"""The cluster as Ray sees it: its machines, what it can grow by, and what of a sweep waits or runs on it."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sweeps.engine.capacity import FIXED, Amounts, Growth, Node

BOOTSTRAP = Path("~/ray_bootstrap_config.yaml")
"""Where ``ray up`` leaves the cluster's file on its head."""

KUBERNETES = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
"""Where a pod finds the name of its namespace."""

HEAD = "node:__internal_head__"
"""The resource that only the head has."""

ANSWER_SECONDS = 3.0
"""How long a connection to Ray's head may take."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Process:
    """A worker of the sweep; ``pid`` 0 while it is being started. ``kind`` is the class that Ray runs in it."""

    pid: int
    machine: str
    kind: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Scene:
    """What is there at one moment: machines alive and gone, groups of workers that wait for a place, and processes."""

    nodes: tuple[Node, ...] = ()
    gone: tuple[str, ...] = ()
    waiting: tuple[tuple[Amounts, ...], ...] = ()
    processes: tuple[Process, ...] = ()


def here() -> list[Node]:
    """The machines of the cluster that are alive; Ray must be up."""
    import ray

    return [_node(node) for node in ray.nodes() if node["Alive"]]


def gpus(nodes: Iterable[Node]) -> list[str]:
    """The kinds of GPU that the machines have, each once, by the names that Ray gives them."""
    prefix = "accelerator_type:"
    kinds = {
        name.removeprefix(prefix)
        for node in nodes
        if node.holds.get("GPU")
        for name in node.holds
        if name.startswith(prefix)
    }
    return sorted(kinds)


def could(file: Path = BOOTSTRAP) -> Growth:
    """What the cluster can grow by, as the file says that ``ray up`` leaves on the head, or KubeRay's description of the cluster.

    Nothing where this process started Ray itself, where it does not run on the head, or where there is neither: then only what is
    alive counts. Ray must be up.
    """
    import ray

    if "RAY_ADDRESS" not in os.environ:
        return FIXED
    own = ray.get_runtime_context().get_node_id()
    if not any(node["NodeID"] == own and HEAD in node["Resources"] for node in ray.nodes()):
        return FIXED
    path = file.expanduser()
    if path.is_file():
        import yaml

        return growth(yaml.safe_load(path.read_text()))
    described = _kuberay()
    return growth(described) if described is not None else FIXED


def growth(cluster: Mapping[str, Any]) -> Growth:
    """What a cluster's file, as ``ray up`` has completed it, lets the autoscaler add.

    Of one's own machines (provider ``local``) only the addresses are known.
    """
    kinds, head = [], cluster.get("head_node_type")
    for name, kind in cluster.get("available_node_types", {}).items():
        count = int(kind.get("max_workers", 0 if name == head else cluster.get("max_workers", 2)))
        if count > 0 and kind.get("resources"):
            holds = {key: float(amount) for key, amount in kind["resources"].items()}
            kinds.append((Node(name=name, holds=holds), count))
    most = int(cluster.get("max_workers", sum(count for _, count in kinds)))
    machines = tuple(cluster.get("provider", {}).get("worker_ips", ()))
    return Growth(kinds=tuple(kinds), most=most if kinds else 0, machines=machines)


def scene() -> Scene:
    """What Ray knows now of this sweep, that is of this process and what it has started; Ray must be up.

    Asks Ray's head alone, which may take for ever when it hangs. The head is asked directly since Ray's own state API wants the
    dashboard.
    """
    import ray
    from ray._private.state import actors
    from ray.util import placement_group_table

    nodes = ray.nodes()
    addresses = {node["NodeID"]: node["NodeManagerAddress"] for node in nodes}
    alive = tuple(_node(node) for node in nodes if node["Alive"])
    standing = {node.name for node in alive}
    job = ray.get_runtime_context().get_job_id()
    waiting = tuple(
        tuple(group["bundles"].values())
        for name, group in placement_group_table().items()
        if group["state"] in ("PENDING", "RESCHEDULING") and name.endswith(job)
    )
    processes = []
    for actor in actors().values():
        if actor["JobID"] == job and actor["State"] in ("ALIVE", "PENDING_CREATION", "RESTARTING"):
            started = actor["State"] == "ALIVE"
            machine = actor["Address"]["IPAddress"] or addresses.get(actor["Address"]["NodeID"], "")
            processes.append(Process(pid=actor["Pid"] if started else 0, machine=machine, kind=actor["ActorClassName"]))
    gone = sorted({address for address in addresses.values() if address not in standing})
    return Scene(nodes=alive, gone=tuple(gone), waiting=waiting, processes=tuple(processes))


def address() -> str:
    """Where Ray's head listens; Ray must be up."""
    import ray

    return str(ray.get_runtime_context().gcs_address)


def answers(address: str) -> bool:
    """True when Ray's head takes a connection; says so within ``ANSWER_SECONDS``."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWER_SECONDS).close()
    except OSError:
        return False
    return True


def _node(node: Mapping[str, Any]) -> Node:
    return Node(name=node["NodeManagerAddress"], holds=dict(node["Resources"]), head=HEAD in node["Resources"])


def _kuberay() -> Mapping[str, Any] | None:
    """The cluster as KubeRay's autoscaler sees it; None outside Kubernetes, or when the pod may not read it."""
    name = os.environ.get("RAY_CLUSTER_NAME")
    if name is None or not KUBERNETES.is_file():
        return None
    import requests
    from ray.autoscaler._private.kuberay import autoscaling_config, node_provider

    client = node_provider.KubernetesHttpApiClient(namespace=KUBERNETES.read_text().strip())
    try:
        described = client.get(f"rayclusters/{name}")
    except requests.RequestException:
        return None
    return dict(autoscaling_config._derive_autoscaling_config_from_ray_cr(described))
