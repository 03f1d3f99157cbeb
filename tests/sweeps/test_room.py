"""What is known of the room before anything is launched."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest

from sweeps import QuestionError, Resources, each
from sweeps.engine import cluster
from sweeps.engine.lanes import solo
from sweeps.engine.room import Room, room
from tests.sweeps.small import small

CORES = len(os.sched_getaffinity(0))


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """No cluster, and no GPU that Ray would see."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    # Ray settles once in a process whether it asks for a token; that it does is tested where commands are run.
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")


def test_the_sum_is_shown() -> None:
    found = room(small())
    machine = f"there is one machine with {CORES} CPU{'s' * (CORES > 1)}, 0 GPUs"
    assert found == Room(
        at_once=CORES, said=f"{CORES} trial{'s' * (CORES > 1)} at once; a trial takes 1 CPU; {machine}"
    )


def test_what_cannot_fit_is_refused_with_the_sum() -> None:
    many = CORES + 1
    with pytest.raises(
        QuestionError, match=rf"a trial takes {many} workers x \(1 CPU\) = {many} CPUs; .* Set --workers"
    ):
        room(small(resources=Resources(workers=many)))
    with pytest.raises(QuestionError, match=rf"{many} workers x"):
        room(small(resources=Resources(workers=each(1, many))))
    with pytest.raises(QuestionError, match=rf"a trial takes {many} CPUs; .* Set Resources\(cpus={CORES}\)"):
        room(small(resources=Resources(cpus=many)))
    with pytest.raises(QuestionError, match=r"a trial takes 1 CPU, 1 GPU; .* Set Resources\(gpus=0\)"):
        room(small(resources=Resources(gpus=1)))
    with pytest.raises(QuestionError, match="of memory"):
        room(small(resources=Resources(memory_bytes=2**60)))


def test_compared_workers_run_one_trial_at_a_time() -> None:
    found = room(small(resources=Resources(workers=each(1)), lane="crew"))
    assert found.at_once == 1
    assert found.said.startswith("one trial at a time, so that seconds can be compared; a trial takes 1 CPU;")


def test_the_local_lane_takes_what_there_is() -> None:
    assert room(small(lane="local", resources=Resources(cpus=CORES + 1))) == Room()


def test_a_cluster_is_not_asked_and_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    found = room(small(resources=Resources(workers=1000)))
    assert found.said == "not counted: the cluster at RAY_ADDRESS 10.0.0.1:6379 is asked when the sweep joins it"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_this_machine_is_counted_as_ray_counts_it() -> None:
    expected = solo.alone()
    try:
        resources, fit = solo.start(Resources())
        (machine,) = cluster.here()
    finally:
        solo.stop()
    for name in ("CPU", "GPU"):
        assert machine.holds.get(name) == expected.holds.get(name)
    assert machine.holds["memory"] == pytest.approx(expected.holds["memory"], rel=0.2)
    assert (resources.gpus, fit.concurrency) == (0, room(replace(small(), resources=resources)).at_once)
