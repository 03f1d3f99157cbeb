"""Nodes that differ are refused before a launch, in words; what Tune keeps lies where all of them see it."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from sweeps import TPE
from sweeps.engine import nodes
from sweeps.engine.capacity import Growth
from sweeps.engine.drive import drive
from sweeps.engine.errors import QuestionError
from sweeps.engine.machine import Machine, source_hash
from sweeps.engine.nodes import Answer, conflicts
from tests.sweeps.small import small

VERSIONS = {"Python": "3.11.7", "torch": "2.13.0", "ray": "2.60.0", "numpy": "2.2.0"}
DRIVER = Answer(name="head", source="0123456789ab", versions=VERSIONS)
WORKER = replace(DRIVER, name="one (10.0.0.2)")
RUNS = Path("/shared/runs/batch_size")


def test_nodes_that_agree_are_no_conflict() -> None:
    assert conflicts([replace(DRIVER, name="head (10.0.0.1)"), WORKER], DRIVER, RUNS) == []


@pytest.mark.parametrize(
    ("worker", "words"),
    [
        (
            replace(WORKER, source="ba9876543210"),
            "one (10.0.0.2) has source ba9876543210, head, where this command runs, has 0123456789ab: run `ray up`",
        ),
        (
            replace(WORKER, versions={**VERSIONS, "torch": "2.12.1"}),
            "one (10.0.0.2) has torch 2.12.1, head has 2.13.0: run `ray up`",
        ),
        (
            replace(WORKER, versions={name: version for name, version in VERSIONS.items() if name != "numpy"}),
            "one (10.0.0.2) has numpy none, head has 2.2.0: run `ray up`",
        ),
        (
            replace(WORKER, sees=False, seen=False),
            "one (10.0.0.2) does not see /shared/runs/batch_size of head: mount the shared storage there, or name",
        ),
        (replace(WORKER, seen=False), "one (10.0.0.2) cannot write to /shared/runs/batch_size of head: mount"),
        (replace(WORKER, absent=["flowers.csv"]), "one (10.0.0.2) has no file flowers.csv: put it into the shared"),
        (replace(WORKER, fault="no answer in 120 s"), "one (10.0.0.2): no answer in 120 s"),
    ],
)
def test_a_node_that_differs_is_named_with_the_way_out(worker: Answer, words: str) -> None:
    (found,) = conflicts([replace(DRIVER, name="head (10.0.0.1)"), worker], DRIVER, RUNS)
    assert found.startswith(words)


def test_what_a_silent_node_would_have_said_is_not_guessed() -> None:
    assert conflicts([Answer(name="one", fault="no answer")], DRIVER, RUNS) == ["one: no answer"]


def test_every_difference_of_every_node_is_told() -> None:
    worse = replace(WORKER, source="ba9876543210", sees=False, absent=["a.csv", "b.csv"])
    assert len(conflicts([worse, replace(worse, name="two")], DRIVER, RUNS)) == 8


def test_scratch_lies_in_the_sweep_s_folder_on_a_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    (tmp_path / ".tune" / "left").mkdir(parents=True)  # by a driver that was killed
    with nodes.scratch(tmp_path) as place:
        assert place == tmp_path / ".tune"
        assert list(place.iterdir()) == []
    assert list(tmp_path.iterdir()) == []


def test_scratch_is_temporary_on_one_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with nodes.scratch(tmp_path) as place:
        assert place.is_dir()
        assert list(tmp_path.iterdir()) == []
    assert not place.exists()


def test_the_ledger_names_the_machine_of_each_trial(tmp_path: Path) -> None:
    sweep = small(
        recipe=replace(small().recipe, batch_size=8, epochs=1), search=TPE(trials=1), early_stop=None, seeds=1
    )
    records = drive(sweep, tmp_path, lane="local", concurrency=1, machine=Machine.here(None), followers=[])
    assert [record.node for record in records] == [platform.node()] * 2


@pytest.fixture(scope="module")
def pair() -> Iterator[str]:
    """A real cluster of two nodes; the address that both have."""
    import ray
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    made.add_node(num_cpus=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_ADDRESS", made.address)
        ray.init(log_to_driver=False)
        made.wait_for_nodes()
        yield made.address.partition(":")[0]
        ray.shutdown()
        made.shutdown()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.usefixtures("pair")
def test_real_nodes_are_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nodes.agree(tmp_path, [__file__])
    assert list(tmp_path.iterdir()) == [], "what they were asked by is taken away"
    monkeypatch.setattr(nodes, "source_hash", lambda _: "0" * 12)  # the driver's code becomes another
    with pytest.raises(QuestionError, match="nothing was started") as refused:
        nodes.agree(tmp_path, [])
    assert str(refused.value).count(f"has source {source_hash(None)}") == 2


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_machines_that_the_file_names_are_waited_for(pair: str) -> None:
    said: list[str] = []
    assert len(nodes.awaited(Growth(machines=(pair,)), said.append)) == 2
    assert said == []
    assert len(nodes.awaited(Growth(machines=(pair, "192.0.2.9")), said.append, seconds=1)) == 2
    (line,) = said
    assert line.startswith("Waiting for 192.0.2.9 to join Ray")
