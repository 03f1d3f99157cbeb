"""Lanes with several workers: real Ray, real groups, stopped, broken and killed for real."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from analysis.records import Stage, Status, TrialRecord
from sweeps import ASHA, Random, Resources, Sweep, each, log_uniform
from sweeps.engine.drive import drive
from sweeps.engine.lanes import solo
from sweeps.engine.machine import Machine
from tests.sweeps.small import small, task
from tests.sweeps.troubled import Net, SlowToHear, slow_to_end
from trainables import EMA, SGD, AdamW, ClipNorm, Cosine, Recipe
from trainables.models import MLP
from trainables.precision import FP64

pytestmark = pytest.mark.filterwarnings("ignore")  # Ray's own, in whatever comes first

TOLERANCE = 1e-9

SEED_OF_A_STOP = 2
"""Its second heat is the worse one, so that it is cut."""


@pytest.fixture(scope="module", autouse=True)
def ray_is_up() -> Iterator[None]:
    # Ray settles once in a process whether it asks for a token; that it does is tested where commands are run.
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "disabled")
        solo.start(Resources(workers=2))
        yield
        solo.stop()


def raced(sweep: Sweep, folder: Path, lane: str, *, workers: int = 1, concurrency: int = 1) -> dict[str, TrialRecord]:
    """Run a sweep in a lane; its records by id."""
    folder.mkdir()
    sweep = replace(sweep, resources=Resources(workers=workers, gpus=0))
    records = drive(sweep, folder, lane=lane, concurrency=concurrency, machine=Machine.here(None), followers=[])
    return {record.id: record for record in records}


def losses(record: TrialRecord) -> list[float]:
    return [row[name] for row in record.history for name in ("train/loss", "val/loss", "val/accuracy")]


def everything(**changes: Any) -> Sweep:
    """61 samples in batches of 20, in parts of 7 at most: uneven ends, and one sample for two workers at the last."""
    recipe = Recipe(
        model=MLP(widths=(8,)),
        batch_size=20,
        micro_batch=7,
        optimizer=AdamW(lr=0.02),
        schedule=Cosine(warmup=0.2),
        average=EMA(decay=0.9),
        clip=ClipNorm(0.5),
        precision=FP64(),
        epochs=3,
    )
    slow = replace(task, data=SlowToHear())
    return small(task=slow, recipe=recipe, search=None, early_stop=None, **{"seeds": 1, **changes})


def test_all_lanes_give_the_same_losses(tmp_path: Path) -> None:
    alone = raced(everything(), tmp_path / "local", "local")
    others = {
        "solo": raced(everything(), tmp_path / "solo", "solo"),
        "crew x 2": raced(everything(), tmp_path / "crew2", "crew", workers=2),
        "gang x 1": raced(everything(), tmp_path / "gang1", "gang"),
        "gang x 2": raced(everything(), tmp_path / "gang2", "gang", workers=2),
    }
    (record,) = alone.values()
    assert len(losses(record)) == 9
    for lane, records in others.items():
        assert records.keys() == alone.keys(), lane
        assert losses(records[record.id]) == pytest.approx(losses(record), rel=0, abs=TOLERANCE), lane
        assert records[record.id].lane == lane.split()[0]


def troubled(place: Path, *troubles: str, rank: int = 1, dropout: float = 0.2, **changes: Any) -> Sweep:
    recipe = Recipe(
        model=each(*(Net(place=str(place), trouble=trouble, rank=rank, dropout=dropout) for trouble in troubles)),
        batch_size=16,
        optimizer=SGD(lr=0.1, momentum=0.9),
        epochs=4,
    )
    return small(recipe=recipe, search=None, early_stop=None, **{"seeds": 2, **changes})


def by_trouble(records: Sequence[TrialRecord]) -> dict[tuple[str, int], TrialRecord]:
    found = {}
    for record in records:
        matched = re.search(r"trouble='(\w+)'", str(record.level["model"]))
        found[matched.group(1) if matched else "none", record.seed] = record
    return found


def test_a_crew_outlives_what_its_trials_do(tmp_path: Path) -> None:
    """A worker killed, exceptions in one worker, global state changed: the other trials are as they are alone."""
    place = tmp_path / "place"
    place.mkdir()
    records = by_trouble(
        [
            *raced(
                troubled(place, "poison", "kill", "raise", "always", "none"), tmp_path / "a", "crew", workers=2
            ).values()
        ]
    )
    pids = {path.name: path for path in place.iterdir()}
    alone = by_trouble([*raced(troubled(place, "none"), tmp_path / "b", "crew", workers=2).values()])
    for seed in (1, 2):
        undisturbed = alone["none", seed]
        assert records["poison", seed].status is Status.COMPLETED
        for trouble in ("none", "kill", "raise"):
            record = records[trouble, seed]
            assert record.status is Status.COMPLETED
            # Every random draw is the same, so the weights are too: bit for bit.
            assert losses(record) == losses(undisturbed), (trouble, seed)
        failed = records["always", seed]
        assert failed.status is Status.FAILED
        said = r"ValueError: this model never trains \(troubled\.py:\d+\) \(in 2 attempts\)"
        assert re.fullmatch(said, failed.reason or "")
        assert failed.epochs == 2  # one in each attempt
    assert {records["kill", seed].reason for seed in (1, 2)} == {
        None,
        "its process died once, it went on from its checkpoint",
    }
    assert {records["raise", seed].reason for seed in (1, 2)} == {None, "went on after an exception"}
    # Two workers at first and two after the kill; exceptions restarted none.
    assert len({name.rpartition("-")[2] for name in pids if name[-1].isdigit()}) == 4


def searched(**changes: Any) -> Sweep:
    return small(search=Random(trials=6), early_stop=ASHA(grace=1, factor=3), seeds=1, **changes)


def test_asha_stops_a_crews_trials_where_it_cuts_them(tmp_path: Path) -> None:
    records = raced(searched(), tmp_path / "a", "crew", workers=2)
    stopped = [record for record in records.values() if record.status is Status.STOPPED]
    assert len(records) == 14
    assert stopped
    for record in stopped:
        assert record.epochs < 9
        assert record.reason == f"below the cut at epoch {record.epochs}"
        assert not (tmp_path / "a" / "checkpoints" / record.id).exists()
    assert {record.status for record in records.values()} == {Status.STOPPED, Status.COMPLETED}
    assert gone(), (groups(), train_workers())
    assert all(record.epochs == 9 for record in records.values() if record.stage is Stage.FINAL)


def test_two_crews_of_one_work_side_by_side(tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.mkdir()
    sweep = troubled(place, "company", rank=0, dropout=0.0, seeds=4)
    records = raced(sweep, tmp_path / "a", "crew", concurrency=2)
    processes = len([*place.iterdir()])
    alone = raced(sweep, tmp_path / "b", "local")
    assert processes == 2
    for name, record in alone.items():
        assert record.status is Status.COMPLETED
        assert losses(records[name]) == pytest.approx(losses(record), rel=0, abs=1e-6)


def test_a_trial_that_is_slow_to_end_costs_no_other(tmp_path: Path) -> None:
    """Its actor is not handed over in time, and Tune says nothing of the trial that should have had it."""
    recipe = Recipe(
        model=MLP(widths=(8,)),
        batch_size=16,
        optimizer=SGD(lr=log_uniform(1e-6, 1.0)),
        precision=FP64(),
        epochs=6,
        hooks=(slow_to_end,),
    )
    sweep = small(
        recipe=recipe, search=Random(trials=2), early_stop=ASHA(grace=2, factor=2), seeds=1, seed=SEED_OF_A_STOP
    )
    records = raced(sweep, tmp_path / "a", "solo")
    assert Counter(record.status for record in records.values()) == {Status.STOPPED: 1, Status.COMPLETED: 2}
    assert any("its process died" in (record.reason or "") for record in records.values())


def groups() -> list[dict[str, Any]]:
    """Placement groups that are there."""
    from ray.util.placement_group import placement_group_table

    return [group for group in placement_group_table().values() if group["state"] != "REMOVED"]


def train_workers() -> list[int]:
    found = []
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):  # one that has just ended
            if "RayTrainWorker" in " ".join(process.cmdline()):
                found.append(process.pid)
    return found


def gone(deadline_seconds: float = 300.0) -> bool:
    deadline = time.monotonic() + deadline_seconds
    while time.monotonic() < deadline:
        if not groups() and not train_workers():
            return True
        time.sleep(0.2)
    return False


def test_a_gang_that_asha_stops_leaves_nothing_behind(tmp_path: Path) -> None:
    recipe = Recipe(
        model=MLP(widths=(8,)), batch_size=16, optimizer=SGD(lr=log_uniform(1e-6, 1.0)), precision=FP64(), epochs=6
    )
    sweep = small(
        recipe=recipe, search=Random(trials=2), early_stop=ASHA(grace=2, factor=2), seeds=1, seed=SEED_OF_A_STOP
    )
    alone = raced(sweep, tmp_path / "local", "local")
    records = raced(sweep, tmp_path / "gang", "gang", workers=2)
    assert Counter(record.status for record in alone.values()) == {Status.STOPPED: 1, Status.COMPLETED: 2}
    for name, record in alone.items():
        assert (records[name].status, records[name].reason) == (record.status, record.reason)
        assert losses(records[name]) == pytest.approx(losses(record), rel=0, abs=TOLERANCE)
    assert gone(), (groups(), train_workers())


def test_a_gang_goes_on_when_a_worker_is_killed(tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.mkdir()
    sweep = troubled(place, "kill", dropout=0.0, seeds=1)
    (record,) = raced(sweep, tmp_path / "gang", "gang", workers=2).values()
    assert (place / "kill.done").exists()
    (alone,) = raced(sweep, tmp_path / "local", "local").values()
    assert record.reason == "its process died once, it went on from its checkpoint"
    assert losses(record) == pytest.approx(losses(alone), rel=0, abs=1e-6)
    assert gone()
