"""What fits where: counted in planted clusters, asked for in real ones."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sweeps import QuestionError, Resources
from sweeps.engine import capacity, cluster
from sweeps.engine.capacity import MOST_AT_ONCE, PROXIES, Fit, Growth, Node, bundle, fit, room, settled, slots
from tests.sweeps.small import small

ROOT = Path(__file__).resolve().parents[2]
GIB = float(2**30)


def node(cpus: float, gpus: float = 0, kind: str | None = None, memory: float = 64 * GIB, **more: Any) -> Node:
    holds = {"CPU": cpus, "GPU": gpus, "memory": memory, "object_store_memory": GIB, "node:x": 1.0}
    if kind is not None:
        holds[f"accelerator_type:{kind}"] = 1.0
    return Node(**{"name": "x", "holds": holds} | more)


@pytest.mark.parametrize(
    ("resources", "nodes", "trials"),
    [
        (Resources(gpus=0), [node(2)], 2),
        (Resources(cpus=3, gpus=0), [node(8)], 2),
        (Resources(cpus=3, gpus=0), [node(8), node(4)], 3),
        (Resources(gpus=1), [node(16, 4)], 4),
        (Resources(gpus=1), [node(16, 1), node(16)], 1),
        (Resources(cpus=8, gpus=0.5), [node(16, 4)], 2),
        (Resources(gpus=0.25), [node(16, 1)], 4),
        (Resources(gpus=0.6), [node(16, 2)], 2),
        (Resources(gpus=0.4), [node(16, 2)], 4),
        (Resources(gpus=1 / 3), [node(16, 1)], 3),
        (Resources(gpus=0.1), [node(16, 1)], 10),
        (Resources(gpus=2), [node(16, 3), node(16, 3)], 2),
        (Resources(gpus=1, gpu_type="A100"), [node(8, 4, "T4"), node(8, 2, "A100")], 2),
        (Resources(gpus=0, memory_bytes=2**34), [node(8, memory=40 * GIB)], 2),
        (Resources(gpus=0, workers=4), [node(3), node(3), node(3)], 2),
        (Resources(gpus=0, workers=2, cpus=2), [node(3), node(3)], 1),
        (Resources(gpus=1, workers=3), [node(8, 2), node(8, 4), node(8)], 2),
    ],
)
def test_trials_at_once(resources: Resources, nodes: list[Node], trials: int) -> None:
    assert fit(resources, nodes) == Fit(now=trials, grown=trials)


def test_a_byte_of_memory_is_left_for_each_proxy() -> None:
    wanted = {"memory": GIB}
    assert slots({"memory": 2 * GIB}, wanted) == 1
    assert slots({"memory": 2 * GIB + PROXIES}, wanted) == 2


def test_gpus_are_settled_by_what_is_there_or_can_come() -> None:
    growing = Growth(kinds=((node(4, 1), 2),), most=2)
    assert settled(Resources(), [node(2)]).gpus == 0
    assert settled(Resources(), [node(2), node(2, 1)]).gpus == 1
    assert settled(Resources(), [node(2)], growing).gpus == 1
    assert settled(Resources(gpus=0.5), [node(2)]).gpus == 0.5


def test_what_fits_only_after_growing_counts_and_is_said() -> None:
    nodes = [node(4, name="10.0.0.1", head=True), node(8, 1, name="10.0.0.2")]
    growing = Growth(kinds=((node(8, 1, name="small"), 10), (node(64, 8, name="big"), 2)), most=4)
    found = fit(Resources(gpus=1), nodes, growing)
    assert (found.now, found.grown, found.concurrency) == (1, 2 * 8 + 2, 18)
    assert found.note == "1 trial at once on what is there; the cluster can grow by 4 machines, to 18 at once."
    assert fit(Resources(gpus=1), nodes[:1], growing).now == 0
    enough = fit(Resources(gpus=0), nodes, Growth())
    assert (enough.now, enough.note) == (12, "")
    vast = Growth(kinds=((node(64), 1000),), most=1000)
    assert fit(Resources(gpus=0), nodes, vast).concurrency == MOST_AT_ONCE
    many = [node(64)] * 10
    assert fit(Resources(gpus=0), many).concurrency == 640


def test_machines_of_ones_own_that_are_not_there_are_named() -> None:
    own = Growth(machines=("10.0.0.2", "10.0.0.3"))
    found = fit(Resources(gpus=0), [node(2, name="10.0.0.1"), node(2, name="10.0.0.2")], own)
    assert found.note == "The cluster's file also names 10.0.0.3, which Ray does not see."


HEAD = node(4, name="10.0.0.1", head=True)
GPUS = node(8, 2, "T4", name="10.0.0.2")


@pytest.mark.parametrize(
    ("resources", "nodes", "words"),
    [
        (
            Resources(workers=4, cpus=2, gpus=1),
            [HEAD, GPUS],
            "a trial takes 4 workers x (2 CPUs, 1 GPU) = 8 CPUs, 4 GPUs; there are 2 machines: head 10.0.0.1 4 CPUs, 0 GPUs; "
            "10.0.0.2 8 CPUs, 2 GPUs T4; in all 12 CPUs, 2 GPUs; 2 workers fit. Set --workers 2, or Resources(gpus=0), which "
            "trains on CPUs",
        ),
        (
            Resources(cpus=4, gpus=0),
            [node(2)],
            "a trial takes 4 CPUs; there is one machine with 2 CPUs, 0 GPUs. Set Resources(cpus=2)",
        ),
        (
            Resources(gpus=1, gpu_type="A100"),
            [HEAD, GPUS],
            "a trial takes 1 CPU, 1 GPU A100; there are 2 machines: head 10.0.0.1 4 CPUs, 0 GPUs; 10.0.0.2 8 CPUs, 2 GPUs T4; "
            'in all 12 CPUs, 2 GPUs. Set Resources(gpus=0), which trains on CPUs, or Resources(gpu_type="T4")',
        ),
        (
            Resources(gpus=0, memory_bytes=10**11),
            [replace(HEAD, holds={"CPU": 4.0, "memory": 6e10})] * 3,
            "a trial takes 1 CPU, 100 GB of memory; there are 3 machines: 3 x (4 CPUs, 0 GPUs, 60 GB of memory); in all 12 CPUs, "
            "0 GPUs, 180 GB of memory. Set Resources(memory_bytes=50000000000)",
        ),
        (
            Resources(workers=3, gpus=1),
            [node(2)],
            "a trial takes 3 workers x (1 CPU, 1 GPU) = 3 CPUs, 3 GPUs; there is one machine with 2 CPUs, 0 GPUs; 0 workers fit. "
            "Add machines, or lower what the sweep asks for",
        ),
    ],
)
def test_what_cannot_fit_is_refused_with_the_sum(resources: Resources, nodes: list[Node], words: str) -> None:
    with pytest.raises(QuestionError) as refused:
        fit(resources, nodes)
    assert str(refused.value) == words


def test_every_way_out_that_is_named_is_one() -> None:
    nodes = [HEAD, GPUS]
    assert fit(Resources(workers=2, cpus=2, gpus=1), nodes).now == 1
    assert fit(Resources(workers=4, cpus=2, gpus=0), nodes).now == 1
    assert fit(Resources(gpus=1, gpu_type="T4"), nodes).now == 2


def test_a_refusal_says_what_the_cluster_could_grow_by() -> None:
    growing = Growth(kinds=((node(8, 1, "T4", name="gpu"), 2),), most=2)
    with pytest.raises(
        QuestionError, match=r"the cluster can grow by 2 x gpu \(8 CPUs, 1 GPU T4\), 2 machines at most; 2 workers"
    ):
        fit(Resources(workers=4, gpus=1), [HEAD], growing)


def test_of_many_machines_the_commonest_words_are_few() -> None:
    with pytest.raises(QuestionError, match=r"there are 9 machines: .*; 5 other kinds; in all 36 CPUs"):
        fit(Resources(cpus=99, gpus=0), [node(cpus) for cpus in range(9)])


AWS: dict[str, Any] = {
    "provider": {"type": "aws"},
    "max_workers": 5,
    "head_node_type": "head",
    "available_node_types": {
        "head": {"max_workers": 0, "resources": {"CPU": 8, "memory": 10**10}},
        "gpu": {"max_workers": 4, "resources": {"CPU": 4, "GPU": 1, "accelerator_type:T4": 1, "memory": 10**10}},
        "big": {"max_workers": 3, "resources": {"CPU": 32, "memory": 10**11}},
    },
}


def test_a_cluster_file_says_what_can_come() -> None:
    found = cluster.growth(AWS)
    assert [(kind.name, number) for kind, number in found.kinds] == [("gpu", 4), ("big", 3)]
    assert found.most == 5
    head = Node(name="h", holds={"CPU": 8.0, "memory": 1e10}, head=True)
    assert room(bundle(Resources(gpus=1, gpu_type="T4")), [head], found) == 4
    assert room(bundle(Resources(cpus=4, gpus=0)), [head], found) == 2 + 3 * 8 + 2
    local = {
        "provider": {"type": "local", "head_ip": "10.0.0.1", "worker_ips": ["10.0.0.2"]},
        "max_workers": 1,
        "head_node_type": "local.cluster.node",
        "available_node_types": {"local.cluster.node": {"max_workers": 1, "resources": {}}},
    }
    assert cluster.growth(local) == Growth(machines=("10.0.0.2",))


def test_kuberays_description_of_a_cluster_reads_the_same() -> None:
    from ray.autoscaler._private.kuberay.autoscaling_config import _derive_autoscaling_config_from_ray_cr

    def group(cpus: str, gpus: str, **more: Any) -> dict[str, Any]:
        limits = {"cpu": cpus, "memory": "8Gi"} | ({"nvidia.com/gpu": gpus} if gpus else {})
        container = {"name": "ray", "resources": {"limits": limits, "requests": limits}}
        return {"rayStartParams": {}, "template": {"spec": {"containers": [container]}}} | more

    workers = group("4", "2", groupName="gpu", replicas=0, minReplicas=0, maxReplicas=3)
    described = {
        "metadata": {"name": "lab", "namespace": "default"},
        "spec": {"headGroupSpec": group("2", ""), "workerGroupSpecs": [workers]},
    }
    found = cluster.growth(_derive_autoscaling_config_from_ray_cr(described))
    ((kind, number),) = found.kinds
    assert (kind.name, kind.holds["CPU"], kind.holds["GPU"], number, found.most) == ("gpu", 4, 2, 3, 3)


@pytest.mark.filterwarnings("ignore")
def test_the_shipped_cluster_files_say_what_can_come() -> None:
    import yaml  # type: ignore[import-untyped]
    from ray.autoscaler._private.kuberay.autoscaling_config import _derive_autoscaling_config_from_ray_cr
    from ray.autoscaler._private.util import prepare_config

    aws, local = (yaml.safe_load((ROOT / name).read_text()) for name in ("cluster.yaml", "cluster-local.yaml"))
    (described,) = (
        part for part in yaml.safe_load_all((ROOT / "kuberay.yaml").read_text()) if part["kind"] == "RayCluster"
    )
    described["metadata"].setdefault("namespace", "default")
    for found in (
        cluster.growth(prepare_config(aws)),
        cluster.growth(_derive_autoscaling_config_from_ray_cr(described)),
    ):
        head = Node(name="head", holds={"memory": 1e10}, head=True)
        assert fit(settled(Resources(workers=2), [head], found), [head], found).grown == found.most // 2 > 0
    assert cluster.growth(prepare_config(local)).machines == tuple(local["provider"]["worker_ips"])


@pytest.mark.parametrize(
    ("resources", "words"),
    [
        (Resources(cpus=0), "resources.cpus 0 must be a whole number from 1"),
        (Resources(cpus=1.5), "resources.cpus 1.5 must be a whole number from 1"),  # type: ignore[arg-type]
        (Resources(memory_bytes=0), "resources.memory_bytes 0 must be a whole number from 1"),
        (Resources(gpus=-1), "resources.gpus -1 must be a number from 0"),
        (Resources(gpus=float("nan")), "resources.gpus nan must be a number from 0"),
        (Resources(gpus=1.5), "resources.gpus 1.5 must be whole above 1"),
        (Resources(gpus=1e-5), "resources.gpus 1e-05 must be at least 0.0001"),
        (
            Resources(gpus=0.5, workers=2),
            "resources.gpus 0.5 puts workers of one trial on one device, which NCCL refuses",
        ),
        (Resources(gpus=0, gpu_type="T4"), "resources.gpu_type 'T4' names no GPU for gpus 0; set gpus=1"),
        (Resources(gpu_type=""), "resources.gpu_type '' names no GPU"),
    ],
)
def test_resources_that_ray_would_refuse_are_conflicts(resources: Resources, words: str) -> None:
    (conflict,) = small(resources=resources).conflicts()
    assert conflict.startswith(words)


@pytest.mark.parametrize("resources", [Resources(gpus=0.6, workers=2), Resources(gpus=4.0), Resources(gpu_type="T4")])
def test_resources_that_ray_takes_are_none(resources: Resources) -> None:
    assert list(small(resources=resources).conflicts()) == []


@pytest.fixture
def growing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A real cluster of a head with what Ray takes for two GPUs, and a file that says what else can come."""
    import ray
    import yaml
    from ray.cluster_utils import Cluster

    file = tmp_path / "bootstrap.yaml"
    file.write_text(yaml.safe_dump(AWS, sort_keys=False))
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 4, "num_gpus": 2, "include_dashboard": False})
    monkeypatch.setenv("RAY_ADDRESS", made.address)
    ray.init(log_to_driver=False)
    yield file
    ray.shutdown()
    made.shutdown()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_joined_cluster_is_counted_with_what_can_come(growing: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (head,) = cluster.here()
    assert (head.head, head.holds["CPU"], head.holds["GPU"]) == (True, 4, 2)
    assert cluster.could(growing) == cluster.growth(AWS)
    assert cluster.could(growing.with_name("absent.yaml")) == capacity.FIXED
    resources = settled(Resources(), [head], cluster.could(growing))
    assert (resources.gpus, fit(resources, [head], cluster.could(growing)).grown) == (1, 6)
    assert cluster.answers(cluster.address())
    monkeypatch.delenv("RAY_ADDRESS")
    assert cluster.could(growing) == capacity.FIXED, "what this process has started cannot grow"
    for share in (0.6, 0.4, 1 / 3):
        places = slots(head.holds, {"GPU": share})
        assert [_held(share, times) for times in (places, places + 1)] == [True, False], share


def _held(share: float, times: int) -> bool:
    """Whether Ray finds a place for so many parts of a GPU."""
    from ray.util import placement_group, remove_placement_group

    group = placement_group([{"GPU": share}] * times)
    try:
        return bool(group.wait(2))
    finally:
        remove_placement_group(group)
