"""What the schemas of cluster files miss: functions from a file's contents to a list of complaints, empty when all is well."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

PACKAGES = ("trainables", "analysis", "reports", "sweeps")
NEEDED = (*PACKAGES, "pyproject.toml", "constraints.txt", "README.md")
"""What must lie in one folder on every node, for the packages to be installed and imported there."""

BULK = (".git", ".venv", "runs")
"""The launcher reads all files below a mounted folder, whatever rsync leaves out; with one of these that takes minutes."""

SHARED = "/shared"
LOOPBACK = ("127.0.0.1", "localhost")
GPU = "nvidia.com/gpu"

RUN_INSTANCES = frozenset(
    {
        "BlockDeviceMappings",
        "CapacityReservationSpecification",
        "CpuOptions",
        "EbsOptimized",
        "IamInstanceProfile",
        "ImageId",
        "InstanceMarketOptions",
        "InstanceType",
        "KeyName",
        "MetadataOptions",
        "Monitoring",
        "NetworkInterfaces",
        "Placement",
        "SecurityGroupIds",
        "SubnetId",
        "SubnetIds",
        "TagSpecifications",
        "UserData",
    }
)
"""Arguments of EC2's RunInstances that a node of such a cluster may need, and ``SubnetIds``, which Ray takes one from."""

SECRET = re.compile(
    r"\b[0-9a-fA-F]{32,}\b"  # a token as Ray makes it
    r"|\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"  # a key of AWS
    r"|-----BEGIN"
    r"|\b[A-Za-z0-9+_-]{40,}\b"
    r"|://[^/\s:@]+:[^@\s]+@"  # a password in an address
    r"|RAY_AUTH_TOKEN=[^\s$]|RAY_AUTH_TOKEN=\$\(echo"
)


def cluster_complaints(cluster: Mapping[str, Any], root: Path) -> list[str]:
    """What is wrong with a file for ``ray up`` of the project in ``root``; the file as written, without Ray's defaults."""
    found = [*_access(cluster), *_mounts(cluster, root), *_starts(cluster), *_sizes(cluster), *_paths(cluster)]
    if cluster["provider"]["type"] == "aws":
        found += _instances(cluster)
    return [*found, *_secrets(cluster)]


def kubernetes_complaints(documents: Sequence[Mapping[str, Any]], ray_version: str) -> list[str]:
    """What is wrong with a manifest for KubeRay, given as its documents; ``ray_version`` is the one that the project pins."""
    kinds = {(document.get("apiVersion"), document.get("kind")): document for document in documents}
    wanted = [("v1", "PersistentVolumeClaim"), ("networking.k8s.io/v1", "NetworkPolicy"), ("ray.io/v1", "RayCluster")]
    missing = [f"no {kind} of {version}" for version, kind in wanted if (version, kind) not in kinds]
    if missing:
        return missing
    claim, policy, cluster = (kinds[kind] for kind in wanted)
    found = [
        *_authentication(cluster, ray_version),
        *_isolation(cluster, policy),
        *_groups(cluster),
        *_secrets(documents),
    ]
    if claim["spec"].get("accessModes") != ["ReadWriteMany"]:
        found.append("the claim must be ReadWriteMany: pods on several machines write to it")
    for name, pod in _pods(cluster):
        found += [f"{name}: {text}" for text in (*_storage(pod, claim), *_container(pod["containers"][0]))]
    images = {pod["containers"][0]["image"] for _, pod in _pods(cluster)}
    if len(images) > 1:
        found.append(f"head and workers run different images: {', '.join(sorted(images))}")
    return found


def _access(cluster: Mapping[str, Any]) -> Iterator[str]:
    """An account to log in to, and the key for it: on one's own machines the launcher makes none."""
    auth = cluster.get("auth", {})
    if not auth.get("ssh_user"):
        yield "auth has no ssh_user"
    key = auth.get("ssh_private_key")
    if cluster["provider"]["type"] == "local":
        if not key:
            yield "auth has no ssh_private_key"
    elif key:
        for name, kind in cluster["available_node_types"].items():
            if "KeyName" not in kind["node_config"]:
                yield f"{name}: a key of one's own needs KeyName in node_config"


def _mounts(cluster: Mapping[str, Any], root: Path) -> Iterator[str]:
    """Sources exist; none drags the repository's bulk along; code and token arrive where they are looked for."""
    mounts = {_home(cluster, target): str(source) for target, source in cluster.get("file_mounts", {}).items()}
    for target, source in mounts.items():
        if source.startswith("~"):
            continue  # the user's own: the token
        path = root / source
        if not path.exists():
            yield f"file_mounts: {source}, the source of {target}, does not exist"
        elif path.is_dir() and (bulk := [name for name in BULK if (path / name).exists() or path == root]):
            yield f"file_mounts: {source} holds {', '.join(bulk)}, which the launcher would read each time: name the parts"
    if mounts.get("~/.ray/auth_token") != "~/.ray/auth_token":
        yield "file_mounts: the token ~/.ray/auth_token is not brought to the nodes"
    if "__pycache__" not in cluster.get("rsync_exclude", ()):
        yield "rsync_exclude: __pycache__ is missing"
    code = environment(cluster).get("PYTHONPATH")
    if code is None:
        yield "setup_commands: PYTHONPATH is not set, so a script that `ray submit` copies does not find the packages"
        return
    place = _home(cluster, code)
    for name in NEEDED:
        if mounts.get(f"{place}/{name}") != name and mounts.get(place) != ".":
            yield f"file_mounts: {name} is not brought to {place}, where PYTHONPATH points"


def _starts(cluster: Mapping[str, Any]) -> Iterator[str]:
    """The commands that start Ray: token, dashboard, autoscaler, address of the head."""
    settings = environment(cluster)
    for kind in ("head", "worker"):
        commands = cluster.get(f"{kind}_start_ray_commands", [])
        start = next((command for command in commands if "ray start" in command), None)
        if start is None:
            yield f"{kind}_start_ray_commands: no `ray start`; the default has no token"
            continue
        if "ray stop" not in commands[: commands.index(start)]:
            yield f"{kind}_start_ray_commands: no `ray stop` before `ray start`, so a second `ray up` fails"
        inline = dict(_assignments(start.partition("ray start")[0]))
        if {**settings, **inline}.get("RAY_AUTH_MODE") != "token":
            yield f"{kind}: RAY_AUTH_MODE=token is not in force before `ray start`"
        options = dict(re.findall(r"--([\w-]+)(?:=|\s+(?!-))(\S+)", start))
        if kind == "head":
            port = options.get("port")
            if options.get("dashboard-host") not in LOOPBACK:
                yield "head: the dashboard is not on loopback: --dashboard-host=127.0.0.1"
            if options.get("autoscaling-config") != "~/ray_bootstrap_config.yaml":
                yield "head: --autoscaling-config=~/ray_bootstrap_config.yaml is missing, so no worker would be started"
        elif options.get("address") != f"$RAY_HEAD_IP:{port}":
            yield f"worker: the address is not $RAY_HEAD_IP:{port}, which the launcher fills in"
    if "chmod 600 ~/.ray/auth_token" not in _text(cluster, "setup_commands"):
        yield "setup_commands: the token's file is not made private: chmod 600 ~/.ray/auth_token"
    if not settings.get("REGATTA_RUNS", "").startswith(f"{SHARED}/"):
        yield f"setup_commands: REGATTA_RUNS is not in {SHARED}, so nodes would not see one another's checkpoints"
    if settings.get("RAY_ADDRESS") != "auto":
        yield "setup_commands: RAY_ADDRESS=auto is missing, so a sweep would start a Ray of its own on the head"


def _sizes(cluster: Mapping[str, Any]) -> Iterator[str]:
    """How many workers, and when an idle one goes."""
    provider = cluster["provider"]
    if provider["type"] == "local":
        workers = provider["worker_ips"]
        if len({provider["head_ip"], *workers}) <= len(workers):
            yield f"provider: a machine is named twice: {provider['head_ip']}, {', '.join(workers)}"
        for key in ("min_workers", "max_workers"):  # by default all of them
            if cluster.get(key, len(workers)) != len(workers):
                yield f"{key} is {cluster[key]}, and worker_ips names {len(workers)} machines: some would not be started"
        return
    most = cluster.get("max_workers", 0)
    for name, kind in cluster["available_node_types"].items():
        low, high = kind.get("min_workers", 0), kind.get("max_workers", most)
        if not 0 <= low <= high <= most:
            yield f"{name}: not 0 <= min_workers {low} <= max_workers {high} <= {most}"
    if not 0 < cluster.get("idle_timeout_minutes", 0) <= 60:
        yield "idle_timeout_minutes is not from 1 to 60: idle machines are paid for"


def _instances(cluster: Mapping[str, Any]) -> Iterator[str]:
    """Node types of EC2, one region, and where the shared folder comes from on machines that are new each time."""
    region, zones = cluster["provider"].get("region", ""), cluster["provider"].get("availability_zone", "")
    files = re.findall(r"\.efs\.([\w-]+)\.amazonaws\.com", _text(cluster, "initialization_commands", "setup_commands"))
    for other in sorted({*(zone.strip()[:-1] for zone in zones.split(",") if zone.strip()), *files} - {region}):
        yield f"provider: the region is {region}, and a zone or the file system is in {other}"
    for name, kind in cluster["available_node_types"].items():
        machine = kind["node_config"]
        if unknown := sorted(set(machine) - RUN_INSTANCES):
            yield f"{name}: EC2 knows no {', '.join(unknown)}"
        yield from (f"{name}: {key} is missing" for key in ("InstanceType", "ImageId") if key not in machine)
        market = machine.get("InstanceMarketOptions")
        if market is None:
            continue
        if (
            not isinstance(market, Mapping)
            or market.get("MarketType") != "spot"
            or set(market) - {"MarketType", "SpotOptions"}
        ):
            yield f"{name}: InstanceMarketOptions is not {{MarketType: spot}}, at most with SpotOptions"
        if name == cluster.get("head_node_type"):
            yield f"{name}: the head is on spot, and the sweep goes with it"
    if not re.search(
        rf"\bmount\b.*\s{SHARED}(\s|$)", _text(cluster, "initialization_commands", "setup_commands"), re.DOTALL
    ):
        yield f"nothing mounts {SHARED}"


def _paths(cluster: Mapping[str, Any]) -> Iterator[str]:
    """Every path that a command names is shared, or in the home folder and brought or made there."""
    keys = [key for key in cluster if key.endswith("_commands")]
    text = _text(cluster, *keys)
    there = [_home(cluster, target) for target in cluster.get("file_mounts", {})]
    there += [_home(cluster, path) for path in re.findall(r"(?:-m venv|>>?|\bmkdir -p)\s+([~$/][\w./$-]*)", text)]
    there += ["~/.bashrc", "~/ray_bootstrap_config.yaml"]
    for raw in sorted(set(re.findall(r"(?<![\w.:~$/*-])((?:~|\$HOME)?/[\w./-]*)", text))):
        path = _home(cluster, raw.rstrip("/") or "/")
        if path.startswith("~"):
            if not any(_within(path, known) or _within(known, path) for known in there):
                yield f"commands: {raw} is neither brought by file_mounts nor made by a command"
        elif not _within(path, SHARED) and path != "/dev/null":
            yield f"commands: {raw} lies outside the home folder and {SHARED}"


def _authentication(cluster: Mapping[str, Any], ray_version: str) -> Iterator[str]:
    """A token by the operator, which wants the version for it, or one from a Secret in every container."""
    spec = cluster["spec"]
    if spec.get("rayVersion") != ray_version:
        yield f"rayVersion is {spec.get('rayVersion')}, the project pins {ray_version}"
    if spec.get("authOptions", {}).get("mode") == "token":
        return
    for name, pod in _pods(cluster):
        variables = {entry["name"]: entry for entry in pod["containers"][0].get("env", [])}
        token = variables.get("RAY_AUTH_TOKEN", {}).get("valueFrom", {})
        if variables.get("RAY_AUTH_MODE", {}).get("value") != "token" or "secretKeyRef" not in token:
            yield f"{name}: no token: authOptions: {{mode: token}}, or RAY_AUTH_MODE and RAY_AUTH_TOKEN from a Secret"


def _isolation(cluster: Mapping[str, Any], policy: Mapping[str, Any]) -> Iterator[str]:
    """The dashboard on loopback, no address outside, and a policy that keeps other pods out."""
    head = cluster["spec"]["headGroupSpec"]
    if head["rayStartParams"].get("dashboard-host") not in LOOPBACK:
        yield "head: the dashboard is not on loopback: dashboard-host: 127.0.0.1 in rayStartParams"
    if head.get("serviceType", "ClusterIP") != "ClusterIP":
        yield f"head: serviceType {head['serviceType']} opens Ray's ports to the outside"
    own = {"matchLabels": {"ray.io/cluster": cluster["metadata"]["name"]}}
    spec = policy["spec"]
    if spec.get("podSelector") != own or "Ingress" not in spec.get("policyTypes", ()):
        yield "the network policy does not cover what comes in to the pods of this cluster"
    if any(rule.get("from") != [{"podSelector": own}] for rule in spec.get("ingress", ())):
        yield "the network policy lets others in than the pods of this cluster"
    if not spec.get("ingress"):
        yield "the network policy keeps the pods of this cluster from one another"


def _groups(cluster: Mapping[str, Any]) -> Iterator[str]:
    """Sizes of worker groups, GPUs where they belong, and what the autoscaler needs."""
    spec = cluster["spec"]
    if spec.get("enableInTreeAutoscaling") is not True:
        yield "enableInTreeAutoscaling is not true, so workers would not come and go"
    if not spec.get("autoscalerOptions", {}).get("idleTimeoutSeconds"):
        yield "autoscalerOptions has no idleTimeoutSeconds: idle machines are paid for"
    if GPU in spec["headGroupSpec"]["template"]["spec"]["containers"][0]["resources"]["limits"]:
        yield "head: it holds a GPU and no trial"
    for group in spec["workerGroupSpecs"]:
        low, now, high = group.get("minReplicas", 0), group.get("replicas", 0), group.get("maxReplicas", 0)
        if not 0 <= low <= now <= high:
            yield f"{group['groupName']}: not 0 <= minReplicas {low} <= replicas {now} <= maxReplicas {high}"
        if GPU not in group["template"]["spec"]["containers"][0]["resources"]["limits"]:
            yield f"{group['groupName']}: no {GPU}"
    for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"]):
        for name, value in group["rayStartParams"].items():
            if not isinstance(value, str):
                yield f"rayStartParams: {name} must be a text, quote {value}"


def _storage(pod: Mapping[str, Any], claim: Mapping[str, Any]) -> Iterator[str]:
    """What is mounted exists, and the shared claim is mounted."""
    volumes = {volume["name"]: volume for volume in pod.get("volumes", [])}
    mounts = {mount["mountPath"]: mount["name"] for mount in pod["containers"][0].get("volumeMounts", [])}
    yield from (
        f"{path} mounts {name}, which is no volume of the pod" for path, name in mounts.items() if name not in volumes
    )
    yield from (f"the volume {name} is not mounted" for name in volumes if name not in mounts.values())
    shared = volumes.get(mounts.get(SHARED, ""), {}).get("persistentVolumeClaim", {}).get("claimName")
    if shared != claim["metadata"]["name"]:
        yield f"{SHARED} is not the claim {claim['metadata']['name']}"


def _container(container: Mapping[str, Any]) -> Iterator[str]:
    """Environment and resources of a Ray container."""
    for entry in container.get("env", []):
        if "valueFrom" not in entry and not isinstance(entry.get("value"), str):
            yield f"env: {entry['name']} must be a text, quote {entry.get('value')}"
        if "valueFrom" not in entry and re.search(r"TOKEN|PASSWORD|SECRET", entry["name"]):
            yield f"env: {entry['name']} is written in clear; take it from a Secret"
    values = {entry["name"]: entry.get("value") for entry in container.get("env", [])}
    if not str(values.get("REGATTA_RUNS")).startswith(f"{SHARED}/"):
        yield f"env: REGATTA_RUNS is not in {SHARED}, so pods would not see one another's checkpoints"
    resources = container.get("resources", {})
    requests, limits = resources.get("requests", {}), resources.get("limits", {})
    for name in sorted({*requests, *limits}):
        if requests.get(name) != limits.get(name):
            yield f"resources: {name} is requested {requests.get(name)} and limited to {limits.get(name)}"


def _pods(cluster: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Head and worker groups by name, each with the description of its pod."""
    yield "head", cluster["spec"]["headGroupSpec"]["template"]["spec"]
    for group in cluster["spec"]["workerGroupSpecs"]:
        yield group["groupName"], group["template"]["spec"]


def _secrets(contents: Any) -> Iterator[str]:
    """Texts that look like a token, a key or a password."""
    for text in _texts(contents):
        if match := SECRET.search(text):
            yield f"looks like a secret: {match.group()[:6]}…"


def environment(cluster: Mapping[str, Any]) -> dict[str, str]:
    """What the set-up leaves in the environment of every login shell; empty where it does not hook into ``~/.bashrc``."""
    text = _text(cluster, "setup_commands")
    return dict(_assignments(text)) if "~/.bashrc" in text else {}


def _assignments(text: str) -> Iterable[tuple[str, str]]:
    pairs: list[tuple[str, str]] = re.findall(r"""(?<![\w-])([A-Za-z_]\w*)=([^\s'";]+)""", text)
    return pairs


def _text(cluster: Mapping[str, Any], *keys: str) -> str:
    return "\n".join(command for key in keys for command in cluster.get(key, ()))


def _texts(contents: Any) -> Iterator[str]:
    if isinstance(contents, str):
        yield contents
    elif isinstance(contents, Mapping):
        for key, value in contents.items():
            yield from _texts(key)
            yield from _texts(value)
    elif isinstance(contents, Sequence):
        for value in contents:
            yield from _texts(value)


def _home(cluster: Mapping[str, Any], path: str) -> str:
    """A path of a node with its home folder written ``~``."""
    user = cluster.get("auth", {}).get("ssh_user", "")
    for prefix in ("$HOME", f"/home/{user}" if user else "$HOME"):
        if path == prefix or path.startswith(f"{prefix}/"):
            return "~" + path.removeprefix(prefix)
    return path


def _within(path: str, folder: str) -> bool:
    return PurePosixPath(path).is_relative_to(folder)
