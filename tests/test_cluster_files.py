"""The files for clusters: read by Ray's own code, checked for what its schema misses, and each check shown to see its fault."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from tests.cluster_checks import GPU, cluster_complaints, environment, kubernetes_complaints

ROOT = Path(__file__).resolve().parents[1]
CLUSTERS = ("cluster.yaml", "cluster-local.yaml")
RAY = re.findall(r"^ray==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)[0]

pytestmark = [
    # Ray's own, at import.
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray"),
    pytest.mark.filterwarnings("ignore::FutureWarning:ray"),
]

Break = Callable[[Any], object]


def read(name: str) -> Any:
    """A cluster's file, or the documents of a manifest."""
    documents = list(yaml.safe_load_all((ROOT / name).read_text()))
    return documents if len(documents) > 1 else documents[0]


@pytest.mark.parametrize("name", CLUSTERS)
def test_ray_takes_the_file(name: str) -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    prepared = prepare_config(read(name))
    validate_config(prepared)
    assert prepared["head_node_type"] in prepared["available_node_types"]


@pytest.mark.parametrize("name", CLUSTERS)
def test_ray_refuses_a_key_that_it_does_not_know(name: str) -> None:
    from jsonschema import ValidationError  # type: ignore[import-untyped]
    from ray.autoscaler._private.util import prepare_config, validate_config

    with pytest.raises(ValidationError, match="ssh_port"):
        validate_config(prepare_config(read(name) | {"auth": {"ssh_user": "me", "ssh_port": 2222}}))


def test_the_autoscaler_reads_the_manifest() -> None:
    from ray.autoscaler._private.kuberay.autoscaling_config import _derive_autoscaling_config_from_ray_cr

    cluster = read("kuberay.yaml")[2]
    cluster["metadata"]["namespace"] = "default"
    derived = _derive_autoscaling_config_from_ray_cr(cluster)
    head, gpu = derived["available_node_types"].values()
    assert (head["resources"]["CPU"], head["max_workers"]) == (0, 0)
    assert (gpu["resources"]["GPU"], gpu["min_workers"], gpu["max_workers"]) == (1, 0, 4)


@pytest.mark.parametrize("name", CLUSTERS)
def test_nothing_to_complain_of(name: str) -> None:
    assert cluster_complaints(read(name), ROOT) == []


def test_nothing_to_complain_of_in_the_manifest() -> None:
    assert kubernetes_complaints(read("kuberay.yaml"), RAY) == []


@pytest.mark.parametrize("name", CLUSTERS)
def test_the_environment_reaches_a_login_shell(name: str, tmp_path: Path) -> None:
    """The commands that write it are run, twice, in a home folder of their own, and a shell is asked as the launcher does."""
    commands = [command for command in read(name)["setup_commands"] if "regatta-env" in command]
    (tmp_path / ".bashrc").write_text("export KEPT=1\n")
    shell = {"HOME": str(tmp_path), "PATH": os.environ["PATH"]}
    for command in [*commands, *commands]:
        subprocess.run(["bash", "-c", command], env=shell, check=True, cwd=tmp_path)
    asked = subprocess.run(
        ["bash", "--login", "-c", "-i", "source ~/.bashrc; env"],
        env=shell,
        check=True,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    there = dict(line.split("=", 1) for line in asked.stdout.splitlines() if "=" in line)
    assert (there["RAY_AUTH_MODE"], there["RAY_ADDRESS"], there["KEPT"]) == ("token", "auto", "1")
    assert there["REGATTA_RUNS"].startswith("/shared/")
    assert there["PYTHONPATH"] == f"{tmp_path}/regatta"
    assert there["PATH"].startswith(f"{tmp_path}/regatta-venv/bin:")
    assert (tmp_path / ".bashrc").read_text().count("regatta-env") == 1


def test_ray_is_started_with_what_a_sweep_would_set() -> None:
    """A sweep sets these where it starts Ray itself; on a cluster the nodes' processes read them before any sweep."""
    names = ("RAY_worker_niceness", "RAY_memory_monitor_refresh_ms", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO")
    code = f"import os; from sweeps.engine.lanes.solo import _quiet; _quiet(); print([os.environ[n] for n in {names}])"
    bare = {"PATH": os.environ["PATH"]}
    said = subprocess.run([sys.executable, "-c", code], env=bare, check=True, cwd=ROOT, capture_output=True, text=True)
    for name in CLUSTERS:
        there = environment(read(name))
        assert str([there.get(key) for key in names]) == said.stdout.strip(), name
    spec = read("kuberay.yaml")[2]["spec"]
    for pod in (spec["headGroupSpec"], *spec["workerGroupSpecs"]):
        there = {entry["name"]: entry.get("value") for entry in pod["template"]["spec"]["containers"][0]["env"]}
        assert str([there.get(key) for key in names]) == said.stdout.strip()


def rewritten(key: str, old: str, new: str) -> Break:
    """Replaces a text in the commands under ``key``; fails where it is not there."""

    def apply(cluster: Any) -> None:
        before = cluster[key]
        cluster[key] = [command.replace(old, new) for command in before]
        assert cluster[key] != before, f"{old} is not in {key}"

    return apply


def put(*path: Any) -> Break:
    """Sets the value that is last at the keys before it."""
    *keys, last, value = path

    def apply(contents: Any) -> None:
        for key in keys:
            contents = contents[key]
        contents[last] = value

    return apply


def drop(*path: Any) -> Break:
    """Deletes what is at the keys."""
    *keys, last = path

    def apply(contents: Any) -> None:
        for key in keys:
            contents = contents[key]
        del contents[last]

    return apply


HEAD, WORKER = "head_start_ray_commands", "worker_start_ray_commands"
OF_ANY_CLUSTER: dict[str, Break] = {
    "auth has no ssh_user": drop("auth", "ssh_user"),
    "the source of ~/extra, does not exist": put("file_mounts", "~/extra", "no-such-folder"),
    "which the launcher would read each time": put("file_mounts", "~/extra", "."),
    "the token ~/.ray/auth_token is not brought": lambda c: [
        c["file_mounts"].pop(target) for target in list(c["file_mounts"]) if target.endswith("auth_token")
    ],
    "__pycache__ is missing": put("rsync_exclude", [".git"]),
    "PYTHONPATH is not set": rewritten("setup_commands", "PYTHONPATH", "PYTHONPATTERN"),
    "trainables is not brought to": lambda c: c.update(
        file_mounts={to: what for to, what in c["file_mounts"].items() if what not in (".", "trainables")}
    ),
    "no `ray start`; the default has no token": put(WORKER, ["ray stop"]),
    "no `ray stop` before": lambda c: c[HEAD].remove("ray stop"),
    "head: RAY_AUTH_MODE=token is not in force": rewritten(
        "setup_commands", "RAY_AUTH_MODE=token", "RAY_AUTH_MODE=disabled"
    ),
    "worker: RAY_AUTH_MODE=token is not in force": rewritten("setup_commands", "~/.bashrc", "~/.zshrc"),
    "dashboard is not on loopback": rewritten(HEAD, "--dashboard-host=127.0.0.1", "--dashboard-host=0.0.0.0"),
    "--autoscaling-config": rewritten(HEAD, "--autoscaling-config=~/ray_bootstrap_config.yaml", ""),
    "the address is not $RAY_HEAD_IP:6379": rewritten(WORKER, "$RAY_HEAD_IP", "head"),
    "token's file is not made private": rewritten("setup_commands", "chmod 600", "chmod 644"),
    "REGATTA_RUNS is not in /shared": rewritten("setup_commands", "REGATTA_RUNS=/shared", "REGATTA_RUNS=/tmp"),
    "RAY_ADDRESS=auto is missing": rewritten("setup_commands", "RAY_ADDRESS=auto", "RAY_ADDRESS=local"),
    "~/regata/x.txt is neither brought": lambda c: c["setup_commands"].append("pip install -r ~/regata/x.txt"),
    "/opt/tools lies outside": lambda c: c["setup_commands"].append("ls /opt/tools"),
    "looks like a secret": lambda c: c["setup_commands"].append(f"export RAY_AUTH_TOKEN={'0a' * 32}"),
    "looks like a secret: AKIA": lambda c: c["setup_commands"].append("export AWS_ACCESS_KEY_ID=AKIA" + "Q7" * 8),
    "looks like a secret: ://me": put("cluster_name", "http://me:pass@tracking"),
}
OF_LOCAL: dict[str, Break] = {
    "auth has no ssh_private_key": drop("auth", "ssh_private_key"),
    "a machine is named twice": lambda c: c["provider"].update(head_ip=c["provider"]["worker_ips"][0]),
    "max_workers is 1": put("max_workers", 1),
}
OF_AWS: dict[str, Break] = {
    "needs KeyName": put("auth", "ssh_private_key", "~/.ssh/mine"),
    "not 0 <= min_workers 5": put("available_node_types", "gpu", "min_workers", 5),
    "idle_timeout_minutes is not": drop("idle_timeout_minutes"),
    "EC2 knows no InstanceTyp": put("available_node_types", "gpu", "node_config", "InstanceTyp", "g5.2xlarge"),
    "gpu: ImageId is missing": drop("available_node_types", "gpu", "node_config", "ImageId"),
    "InstanceMarketOptions is not": put("available_node_types", "gpu", "node_config", "InstanceMarketOptions", "spot"),
    "head is on spot": put(
        "available_node_types", "head", "node_config", "InstanceMarketOptions", {"MarketType": "spot"}
    ),
    "nothing mounts /shared": put("initialization_commands", []),
    "the region is eu-west-1": put("provider", "region", "eu-west-1"),
    "a zone or the file system is in us-east-2": put("provider", "availability_zone", "us-west-2a, us-east-2b"),
    "the file system is in eu-north-1": rewritten("initialization_commands", "efs.us-west-2", "efs.eu-north-1"),
}


@pytest.mark.parametrize(
    ("name", "complaint", "broken"),
    [(name, complaint, broken) for name in CLUSTERS for complaint, broken in OF_ANY_CLUSTER.items()]
    + [("cluster-local.yaml", complaint, broken) for complaint, broken in OF_LOCAL.items()]
    + [("cluster.yaml", complaint, broken) for complaint, broken in OF_AWS.items()],
)
def test_a_fault_of_a_cluster_file_is_seen(name: str, complaint: str, broken: Break) -> None:
    cluster = read(name)
    broken(cluster)
    assert any(complaint in found for found in cluster_complaints(cluster, ROOT))


SPEC = (2, "spec")
HEAD_POD = (*SPEC, "headGroupSpec", "template", "spec")
GROUP = (*SPEC, "workerGroupSpecs", 0)
WORKER_BOX = (*GROUP, "template", "spec", "containers", 0)
OF_KUBERNETES: dict[str, Break] = {
    "no RayCluster of ray.io/v1": put(2, "apiVersion", "ray.io/v1alpha1"),
    "no PersistentVolumeClaim": lambda documents: documents.pop(0),
    "rayVersion is 2.9.0": put(*SPEC, "rayVersion", "2.9.0"),
    "gpu: no token": drop(*SPEC, "authOptions"),
    "dashboard is not on loopback": drop(*SPEC, "headGroupSpec", "rayStartParams", "dashboard-host"),
    "serviceType LoadBalancer": put(*SPEC, "headGroupSpec", "serviceType", "LoadBalancer"),
    "does not cover what comes in": put(1, "spec", "podSelector", {"matchLabels": {"ray.io/cluster": "other"}}),
    "lets others in": put(1, "spec", "ingress", [{}]),
    "from one another": put(1, "spec", "ingress", []),
    "enableInTreeAutoscaling is not true": drop(*SPEC, "enableInTreeAutoscaling"),
    "no idleTimeoutSeconds": drop(*SPEC, "autoscalerOptions"),
    "holds a GPU and no trial": put(*HEAD_POD, "containers", 0, "resources", "limits", GPU, "1"),
    "not 0 <= minReplicas 5": put(*GROUP, "minReplicas", 5),
    "gpu: no nvidia.com/gpu": drop(*WORKER_BOX, "resources", "limits", GPU),
    "must be a text, quote 0": put(*SPEC, "headGroupSpec", "rayStartParams", "num-cpus", 0),
    "must be a text, quote 1": put(*WORKER_BOX, "env", 0, {"name": "A", "value": 1}),
    "mounts other, which is no volume": put(*WORKER_BOX, "volumeMounts", [{"name": "other", "mountPath": "/shared"}]),
    "gpu: the volume shared is not mounted": put(*WORKER_BOX, "volumeMounts", []),
    "/shared is not the claim": put(0, "metadata", "name", "another"),
    "ReadWriteMany": put(0, "spec", "accessModes", ["ReadWriteOnce"]),
    "RAY_AUTH_TOKEN is written in clear": put(*WORKER_BOX, "env", 0, {"name": "RAY_AUTH_TOKEN", "value": "mine"}),
    "gpu: env: REGATTA_RUNS is not in /shared": drop(*WORKER_BOX, "env"),
    "nvidia.com/gpu is requested 1 and limited to 2": put(*WORKER_BOX, "resources", "limits", GPU, "2"),
    "run different images": put(*WORKER_BOX, "image", "regatta:old"),
    "looks like a secret": put(*WORKER_BOX, "env", 0, {"name": "A", "value": "0a" * 32}),
}


@pytest.mark.parametrize(("complaint", "broken"), OF_KUBERNETES.items())
def test_a_fault_of_the_manifest_is_seen(complaint: str, broken: Break) -> None:
    documents = read("kuberay.yaml")
    broken(documents)
    assert any(complaint in found for found in kubernetes_complaints(documents, RAY))


def test_a_token_from_a_secret_will_do() -> None:
    documents = read("kuberay.yaml")
    del documents[2]["spec"]["authOptions"]
    secret = {"name": "RAY_AUTH_TOKEN", "valueFrom": {"secretKeyRef": {"name": "regatta", "key": "auth_token"}}}
    pods = [documents[2]["spec"]["headGroupSpec"], *documents[2]["spec"]["workerGroupSpecs"]]
    for pod in pods:
        container = pod["template"]["spec"]["containers"][0]
        container["env"] = [*container["env"], {"name": "RAY_AUTH_MODE", "value": "token"}, secret]
    assert kubernetes_complaints(documents, RAY) == []
