"""Lane fused: real Ray, packs of trials, stopped, broken and killed for real."""

from __future__ import annotations

import gc
import os
import signal
import weakref
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from ray.tune.experiment import Trial
from torch import Tensor, nn

from analysis.ledger import read_ledger
from analysis.records import Stage, Status, TrialRecord
from sweeps import ASHA, TPE, Grid, Random, Resources, Sweep, each, int_range, log_uniform
from sweeps.engine.asked import Asked
from sweeps.engine.drive import drive
from sweeps.engine.job import Job, key
from sweeps.engine.lanes import solo
from sweeps.engine.machine import Machine
from sweeps.engine.packing import SIZE, Packer, parted, why_alone
from sweeps.engine.packs import PackRunner, Word
from sweeps.engine.pools import Pools
from sweeps.engine.stopping import Levels
from sweeps.engine.study import LevelStudy
from sweeps.engine.trial import Runner
from tests.sweeps.small import small, task
from tests.trainables.small import clusters
from trainables import EMA, SGD, AdamW, ClipNorm, Cosine, Recipe, accuracy
from trainables.augment import Noise
from trainables.fused.structure import structure
from trainables.keep import Keep
from trainables.models import MLP
from trainables.precision import FP64
from trainables.preparing import prepare
from trainables.train import train

pytestmark = pytest.mark.filterwarnings("ignore")  # Ray's own, in whatever comes first

TOLERANCE = 1e-9


@pytest.fixture(scope="module", autouse=True)
def ray_is_up() -> Iterator[None]:
    # Ray settles once in a process whether it asks for a token; that it does is tested where commands are run.
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "disabled")
        solo.start(Resources())
        yield
        solo.stop()


def raced(
    sweep: Sweep, folder: Path, lane: str, *, concurrency: int = 2, sizes: Mapping[str, int] | None = None
) -> dict[str, TrialRecord]:
    """Run a sweep in a lane, in packs of these sizes; its records by id."""
    folder.mkdir()
    sweep = replace(sweep, resources=Resources(gpus=0))
    records = drive(
        sweep,
        folder,
        lane=lane,
        concurrency=concurrency,
        machine=Machine.here(None),
        followers=[],
        sizes=sizes or {},
    )
    return {record.id: record for record in records}


def losses(record: TrialRecord) -> list[float]:
    return [row[name] for row in record.history for name in ("train/loss", "val/loss", "val/accuracy")]


def everything(**changes: Any) -> Sweep:
    """Two structures (the optimizer's kind), two schedules in each of them, 61 samples in batches of 20."""
    recipe = Recipe(
        model=MLP(widths=(8,)),
        batch_size=20,
        optimizer=each(AdamW(lr=log_uniform(1e-3, 0.1)), SGD(lr=log_uniform(1e-2, 1.0), momentum=0.9)),
        schedule=each(Cosine(warmup=0.2), Cosine()),
        average=EMA(decay=0.9),
        clip=ClipNorm(0.5),
        precision=FP64(),
        epochs=9,
    )
    return small(recipe=recipe, **{"search": Random(trials=6), "early_stop": None, "seeds": 6, "timed": 0} | changes)


def test_a_pack_gives_what_every_trial_gives_alone(tmp_path: Path) -> None:
    alone, packed = raced(everything(), tmp_path / "a", "local"), raced(everything(), tmp_path / "b", "fused")
    assert packed.keys() == alone.keys()
    assert len(packed) == 4 * (6 + 6)
    for name, record in packed.items():
        assert record.status is Status.COMPLETED
        assert record.lane == "fused"
        assert losses(record) == pytest.approx(losses(alone[name]), rel=TOLERANCE)
        assert (record.steps, record.samples, record.best_epoch) == (
            alone[name].steps,
            alone[name].samples,
            alone[name].best_epoch,
        )
        assert record.metrics == pytest.approx(alone[name].metrics, rel=TOLERANCE)
        assert record.cost.seconds is None
        assert record.shared is not None
        assert record.shared >= 4
    for record in packed.values():  # a search never looks at the test set
        tested = {name for row in [record.metrics, *record.history] for name in row if name.startswith("test/")}
        assert tested == ({"test/loss", "test/accuracy"} if record.stage is Stage.FINAL else set())
    finals = [record for record in packed.values() if record.stage is Stage.FINAL]
    assert all((tmp_path / "b" / "checkpoints" / record.id / "best.safetensors").exists() for record in finals)
    assert {name: record.data for name, record in packed.items()} == {name: one.data for name, one in alone.items()}
    assert len({record.data for record in finals}) == len({record.seed for record in finals})


def test_halving_in_packs_is_tune_s_own_and_leaves_survivors_alone(tmp_path: Path) -> None:
    sweep = everything(early_stop=ASHA(grace=1, factor=3), search=Random(trials=9), seeds=1)
    packed = raced(sweep, tmp_path / "a", "fused", concurrency=1)
    whole = raced(replace(sweep, early_stop=None), tmp_path / "b", "local")
    heats = [record for record in packed.values() if record.stage is Stage.HEAT]
    stopped = [record for record in heats if record.status is Status.STOPPED]
    assert 0 < len(stopped) < len(heats)
    for record in heats:
        count = 3 * len(record.history)
        assert losses(record) == pytest.approx(losses(whole[record.id])[:count], rel=TOLERANCE)
    # The decisions again, in the order in which the words came in: epoch by epoch, members in the order of their dealing.
    for level in {key(record.level) for record in heats}:
        rule = Levels(sweep.early_stop, sweep.recipe.epochs, "max")
        own = sorted((record for record in heats if key(record.level) == level), key=lambda record: record.number or 0)
        for epoch in range(1, 10):
            for record in (record for record in own if len(record.history) >= epoch):
                cut = rule.stops(level, record.id, epoch, record.history[epoch - 1]["val/accuracy"])
                assert cut == (record.status is Status.STOPPED and len(record.history) == epoch)


def plain(**changes: Any) -> Sweep:
    """One structure, whose heats are halved."""
    recipe = Recipe(
        model=MLP(widths=(8,)),
        batch_size=20,
        optimizer=SGD(lr=log_uniform(1e-2, 1.0), momentum=0.9),
        average=EMA(decay=0.9),
        precision=FP64(),
        epochs=9,
    )
    early_stop = ASHA(grace=1, factor=3)
    return small(recipe=recipe, **{"search": Random(trials=24), "early_stop": early_stop, "seeds": 1} | changes)


@pytest.mark.parametrize("concurrency", [1, 2])
def test_others_take_the_places_of_those_that_were_cut(tmp_path: Path, concurrency: int) -> None:
    """24 heats in packs of 6: a pack is kept full until the last heats have begun, and no numbers change."""
    sweep = plain()
    alike = structure(sweep.task, sweep.corner({}, 0))
    packed = raced(sweep, tmp_path / "a", "fused", concurrency=concurrency, sizes={alike: 6})
    whole = raced(replace(sweep, early_stop=None), tmp_path / "b", "local")
    heats = [record for record in packed.values() if record.stage is Stage.HEAT]
    assert len(heats) == 24
    assert {record.lane for record in heats} == {"fused"}
    assert {record.status for record in heats} == {Status.COMPLETED, Status.STOPPED}
    for record in heats:
        assert losses(record) == pytest.approx(losses(whole[record.id])[: 3 * len(record.history)], rel=TOLERANCE)
    beside = [row["shared"] for record in heats for row in record.history]
    assert max(beside) == 6
    if concurrency == 1:
        # Of packs that shrink, 36 would be full: all first epochs, and the second ones of two.
        assert beside.count(6) >= 48


def test_a_killed_pack_goes_on_with_those_that_have_joined(tmp_path: Path) -> None:
    (tmp_path / "p").mkdir()
    sweep = plain()
    metrics = {"accuracy": Killing(place=str(tmp_path / "p"), after=12)}
    killed = replace(sweep, task=replace(task, metrics=metrics))
    alike = structure(killed.task, killed.corner({}, 0))
    packed = raced(killed, tmp_path / "a", "fused", concurrency=1, sizes={alike: 6})
    whole = raced(replace(sweep, early_stop=None), tmp_path / "b", "local")
    expected = {str(record.point): losses(record) for record in whole.values() if record.stage is Stage.HEAT}
    assert (tmp_path / "p" / "done").exists()
    heats = [record for record in packed.values() if record.stage is Stage.HEAT]
    assert len(heats) == 24
    assert {record.status for record in heats} == {Status.COMPLETED, Status.STOPPED}
    again = [record for record in heats if "went on from its checkpoint" in str(record.reason)]
    assert {record.number for record in again} - set(range(6))
    for record in heats:
        assert losses(record) == pytest.approx(expected[str(record.point)][: 3 * len(record.history)], rel=TOLERANCE)


def test_a_search_that_learns_has_heard_of_those_that_were_cut_when_it_is_asked_for_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A quarter of its heats are under way at a time, also where others take the places of those that have left."""
    under_way: list[int] = []
    ask = LevelStudy.ask

    def asked(study: LevelStudy) -> Asked:
        under_way.append(study.size.get("RUNNING", 0))
        return ask(study)

    monkeypatch.setattr(LevelStudy, "ask", asked)
    packed = raced(plain(search=TPE(trials=64)), tmp_path / "a", "fused", concurrency=1)
    heats = [record for record in packed.values() if record.stage is Stage.HEAT]
    assert len(heats) == len(under_way) == 64
    assert {record.lane for record in heats} == {"fused"}
    assert max(under_way) == 15
    assert [row["shared"] for record in heats for row in record.history].count(16) > 64


class Counting:
    """Follows a sweep, and counts what Tune remembers of trials that are over."""

    def __init__(self) -> None:
        gc.collect()
        self.before = weakref.WeakSet(one for one in gc.get_objects() if type(one) is Trial)
        self.over, self.remembered = 0, 0

    def _trials(self) -> list[Trial]:
        return [one for one in gc.get_objects() if type(one) is Trial and one not in self.before]

    def started(self, record: TrialRecord) -> None:
        pass

    def reported(self, record_id: str, row: Mapping[str, Any]) -> None:
        pass

    def ended(self, record: TrialRecord) -> None:  # noqa: ARG002
        over = [one for one in self._trials() if one.status == Trial.TERMINATED]
        self.over = max(self.over, len(over))
        self.remembered = max(self.remembered, sum(bool(one.run_metadata.metric_n_steps) for one in over))


def test_what_tune_remembers_of_its_trials_does_not_grow(tmp_path: Path) -> None:
    counting = Counting()
    sweep = replace(plain(search=Random(trials=16), seeds=2), resources=Resources(gpus=0))
    drive(sweep, tmp_path, lane="solo", concurrency=1, machine=Machine.here(None), followers=[counting])
    assert counting.over >= 12
    assert counting.remembered <= 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Killing:
    """Accuracy, but a pass in a process kills it, once: the third, or the one ``after``."""

    place: str
    after: int = 3

    def __call__(self, output: Tensor, target: Tensor) -> Tensor:
        if len(target) > FEW:
            calls.append("metric")
        once = Path(self.place) / "done"
        if calls.count("metric") == self.after and not once.exists():
            once.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return accuracy(output, target)


@dataclass(frozen=True, kw_only=True, slots=True)
class Raising:
    """Cross-entropy, but after some steps in a process one raises, once."""

    place: str

    def __call__(self, output: Tensor, target: Tensor) -> Tensor:
        if len(target) > FEW:
            calls.append("loss")
        once = Path(self.place) / "done"
        if calls.count("loss") > 12 and torch.is_grad_enabled() and not once.exists():
            once.touch()
            raise ValueError("a passing fault")
        return nn.functional.cross_entropy(output, target, reduction="none")


@dataclass(frozen=True, kw_only=True, slots=True)
class RaisingWhenTold:
    """Cross-entropy, but once there is a file ``now`` a step raises, and takes it away."""

    place: str

    def __call__(self, output: Tensor, target: Tensor) -> Tensor:
        now = Path(self.place) / "now"
        if now.exists():
            now.unlink()
            raise ValueError("a passing fault")
        return nn.functional.cross_entropy(output, target, reduction="none")


FEW = 8
"""Samples of the batches that are tried before anything is packed, at most."""

calls: list[str] = []
"""Of the process that this file is imported in."""


def troubled(place: Path, **changes: Any) -> Sweep:
    place.mkdir()
    recipe = Recipe(model=MLP(widths=(4,)), batch_size=16, epochs=4, precision=FP64())
    changed = replace(task, **({"metrics": {"accuracy": accuracy}} | changes))
    return small(task=changed, recipe=recipe, search=None, early_stop=None, seeds=8, timed=0)


def by_seed(records: Mapping[str, TrialRecord]) -> dict[int, list[float]]:
    return {record.seed: losses(record) for record in records.values()}


def test_a_worker_that_is_killed_costs_its_pack_nothing(tmp_path: Path) -> None:
    records = raced(
        troubled(tmp_path / "p", metrics={"accuracy": Killing(place=str(tmp_path / "p"))}),
        tmp_path / "a",
        "fused",
        concurrency=1,
    )
    alone = by_seed(raced(troubled(tmp_path / "q"), tmp_path / "b", "local"))
    assert (tmp_path / "p" / "done").exists()
    assert {(record.status, record.lane) for record in records.values()} == {(Status.COMPLETED, "fused")}
    said = "its process died once, it went on from its checkpoint"
    assert {record.reason for record in records.values()} == {said}
    for seed, values in by_seed(records).items():
        assert values == pytest.approx(alone[seed], rel=TOLERANCE)


def test_a_pack_whose_training_raises_goes_on_alone(tmp_path: Path) -> None:
    records = raced(
        troubled(tmp_path / "p", loss=Raising(place=str(tmp_path / "p"))), tmp_path / "a", "fused", concurrency=1
    )
    alone = by_seed(raced(troubled(tmp_path / "q"), tmp_path / "b", "local"))
    assert {(record.status, record.lane) for record in records.values()} == {(Status.COMPLETED, "solo")}
    said = "trained alone after its pack had failed (ValueError: a passing fault)"
    assert {record.reason for record in records.values()} == {said}
    for seed, values in by_seed(records).items():
        assert values == pytest.approx(alone[seed], rel=TOLERANCE)


@dataclass(frozen=True, kw_only=True, slots=True)
class Asking:
    """A model that asks for a number in its forward pass, which cannot be done for several at once."""

    def build(self) -> nn.Module:
        return _Asking()


class _Asking(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 3)

    def forward(self, points: Tensor) -> Tensor:
        out: Tensor = self.layer(points)
        return out if out.sum().item() < torch.inf else out * 0


def test_what_cannot_be_fused_is_trained_alone_and_says_why(tmp_path: Path) -> None:
    recipe = Recipe(model=each(Asking(), MLP(widths=(4,))), batch_size=16, epochs=2)
    records = raced(small(recipe=recipe, search=None, early_stop=None, seeds=4, timed=0), tmp_path / "a", "fused")
    for record in records.values():
        assert record.status is Status.COMPLETED
        if "Asking" in str(record.level["model"]):
            assert record.lane == "solo"
            assert str(record.reason).startswith("not fused, Asking: vmap cannot take it")
            assert record.cost.seconds is not None
        else:
            assert (record.lane, record.reason) == ("fused", None)


def test_an_interrupted_sweep_goes_on_in_another_lane(tmp_path: Path) -> None:
    """What one lane has settled the other does not run again."""
    folder = tmp_path / "a"
    raced(everything(seeds=2, search=Random(trials=4)), folder, "fused")
    drive(
        everything(seeds=4, search=Random(trials=4)),
        folder,
        lane="local",
        concurrency=1,
        machine=Machine.here(None),
        followers=[],
    )
    finals = [record for record in read_ledger(folder) if record.stage is Stage.FINAL]
    assert sorted((record.lane, record.seed) for record in finals) == sorted(
        [("fused", 1), ("fused", 2), ("local", 3), ("local", 4)] * 4
    )


@dataclass
class Dealt:
    """A race that has these jobs to deal."""

    sweep: Sweep
    jobs: list[Job]
    died: dict[str, int] = field(default_factory=dict)
    ended: set[str] = field(default_factory=set)

    def draw(self) -> Job | None:
        return self.jobs.pop(0) if self.jobs else None

    def begin(self, job: Job) -> bool:
        return job.id not in self.ended

    def deaths(self, job_id: str) -> int:
        return self.died.get(job_id, 0)


def packer_of(dealt: Dealt, lanes: int, sizes: Mapping[str, int]) -> Packer:
    return Packer(dealt, sizes=sizes, pools=Pools.of(dealt.sweep, at_once=lanes))  # type: ignore[arg-type]


def jobs(sweep: Sweep, stage: Stage, count: int, **point: Any) -> list[Job]:
    return [
        Job.of(sweep, stage=stage, level={}, point=point, seed=seed, seeds=sweep.final_seeds(seed), earlier=())
        for seed in range(1, count + 1)
    ]


def test_packs_are_even_and_none_is_too_small() -> None:
    sweep = small(recipe=Recipe(model=MLP(), optimizer=SGD(lr=0.1)), search=None, early_stop=None, timed=0)
    all_of_them = jobs(sweep, Stage.FINAL, 40)
    for most, lanes, sizes in ((64, 1, [40]), (64, 2, [20, 20]), (16, 2, [14, 13, 13]), (64, 100, [4] * 10)):
        assert [len(pack) for pack in parted(all_of_them, most, lanes)] == sizes
    assert [len(pack) for pack in parted(all_of_them[:3], 64, 2)] == [1, 1, 1]


def test_a_pack_holds_one_structure_and_one_stage() -> None:
    recipe = Recipe(
        model=MLP(), optimizer=each(SGD(lr=0.1), AdamW()), schedule=each(Cosine(), Cosine(warmup=0.5)), epochs=9
    )
    sweep = small(recipe=recipe, search=None, early_stop=None, timed=0)
    dealt = [
        Job.of(sweep, stage=stage, level=level, point=level, seed=seed, seeds=sweep.final_seeds(seed), earlier=())
        for seed in range(1, 7)
        for level in sweep.levels()
        for stage in (Stage.HEAT, Stage.FINAL)
    ]
    packer, packs = packer_of(Dealt(sweep, list(dealt)), 1, {}), []
    while pack := packer.next():
        packs.append(pack)
    assert sorted(job.id for pack in packs for job in pack) == sorted(job.id for job in dealt)
    assert [len(pack) for pack in packs] == [12] * 4
    for pack in packs:
        assert len({(job.stage, str(job.point["optimizer"])) for job in pack}) == 1
        assert len({job.point["schedule"] for job in pack}) == 2


def test_some_finals_are_trained_alone_where_seconds_are_asked_for() -> None:
    recipe = Recipe(model=MLP(), optimizer=SGD(lr=0.1))
    for timed, sizes in ((None, [1] * 8 + [12]), (3, [1] * 3 + [17]), (0, [20])):
        sweep = small(recipe=recipe, search=None, early_stop=None, timed=timed)
        packer, packs = packer_of(Dealt(sweep, jobs(sweep, Stage.FINAL, 20)), 1, {}), []
        while pack := packer.next():
            packs.append(pack)
        assert [len(pack) for pack in packs] == sizes
        assert [job.seed for pack in packs for job in pack] == list(range(1, 21))


def test_a_search_that_learns_is_heard_before_it_is_asked_again() -> None:
    recipe = Recipe(model=MLP(), optimizer=SGD(lr=log_uniform(0.01, 1.0)))
    for search, size in ((TPE(trials=32), 8), (TPE(trials=16), 1), (Random(trials=32), 32), (Grid(trials=32), 32)):
        sweep = small(recipe=recipe, search=search, early_stop=None)
        packer = packer_of(Dealt(sweep, jobs(sweep, Stage.HEAT, 32, **{"optimizer.lr": 0.1})), 1, {})
        assert len(packer.next()) == size


def test_a_search_that_learns_is_heard_in_every_lane() -> None:
    """Two lanes have a quarter of the heats under way between them; those that are trained alone are asked for one by one."""
    recipe = Recipe(model=MLP(), optimizer=SGD(lr=log_uniform(0.01, 1.0)))
    sweep = small(recipe=recipe, search=TPE(trials=64), early_stop=None)
    alike = structure(sweep.task, sweep.corner({}, 0))
    for size, dealt_first in ((SIZE, 8), (1, 1)):
        dealt = Dealt(sweep, jobs(sweep, Stage.HEAT, 64, **{"optimizer.lr": 0.1}))
        packer = packer_of(dealt, 2, {alike: size})
        assert [len(packer.next()), len(packer.next())] == [dealt_first] * 2
        assert len(dealt.jobs) == 64 - 2 * dealt_first


def test_a_search_whose_structures_nobody_knows_beforehand_is_asked_one_by_one() -> None:
    recipe = Recipe(model=MLP(), batch_size=int_range(8, 64), optimizer=SGD(lr=0.1))
    sweep = small(recipe=recipe, search=TPE(trials=64), early_stop=None)
    points = [{"batch_size": 8 + number % 57} for number in range(64)]
    dealt = Dealt(sweep, [job for point in points for job in jobs(sweep, Stage.HEAT, 1, **point)])
    packer = packer_of(dealt, 1, {})
    assert len(packer.next()) == 1
    assert len(dealt.jobs) == 63


def test_a_job_that_ends_when_it_is_begun_is_in_no_pack() -> None:
    sweep = small(recipe=Recipe(model=MLP(), optimizer=SGD(lr=0.1)), search=None, early_stop=None, timed=0)
    dealt = jobs(sweep, Stage.FINAL, 10)
    packer = packer_of(Dealt(sweep, [*dealt], ended={job.id for job in dealt[:4]}), 1, {})
    assert packer.next() == dealt[4:]
    packer = packer_of(Dealt(sweep, [*dealt], ended={job.id for job in dealt}), 1, {})
    assert packer.next() == []


def test_jobs_wait_for_others_of_their_structure_while_there_are_any() -> None:
    """Two structures that are dealt in turns; one of them is trained alone."""
    recipe = Recipe(model=MLP(), optimizer=each(SGD(lr=0.1), AdamW()))
    sweep = small(recipe=recipe, search=None, early_stop=None, timed=0)
    first, second = sweep.levels()
    dealt = [
        Job.of(sweep, stage=Stage.FINAL, level=level, point=level, seed=seed, seeds=sweep.final_seeds(seed), earlier=())
        for seed in range(1, 9)
        for level in (first, second)
    ]
    sizes = {structure(sweep.task, sweep.corner(first, 0)): 1}
    packer, packs = packer_of(Dealt(sweep, dealt), 2, sizes), []
    while pack := packer.next():
        packs.append(pack)
    assert [len(pack) for pack in packs] == [1] * 8 + [4, 4]


def test_a_trial_whose_process_died_twice_is_trained_alone() -> None:
    sweep = small(recipe=Recipe(model=MLP(), optimizer=SGD(lr=0.1)), search=None, early_stop=None, timed=0)
    dealt = jobs(sweep, Stage.FINAL, 10)
    died = {dealt[0].id: 2, dealt[1].id: 1}
    packer, packs = packer_of(Dealt(sweep, [*dealt], died), 1, {}), []
    while pack := packer.next():
        packs.append([job.id for job in pack])
    assert packs == [[dealt[0].id], [job.id for job in dealt[1:]]]


def test_places_that_are_free_are_filled() -> None:
    sweep = small(recipe=Recipe(model=MLP(), optimizer=SGD(lr=0.1)), search=None, early_stop=None, timed=0)
    dealt = jobs(sweep, Stage.FINAL, 90)
    packer = packer_of(Dealt(sweep, [*dealt], ended={dealt[70].id}), 2, {})
    first, second = packer.next(), packer.next()
    assert first + second == dealt[:64]
    assert packer.more(first[0], SIZE) == []
    assert packer.more(first[0], SIZE - 5) == dealt[64:69]
    assert packer.more(first[0], SIZE - 2) == dealt[69:70]  # one of the two has ended, as in the ledger
    # The last 19 are shared out between the two lanes.
    assert packer.more(second[0], SIZE - 20) == dealt[71:81]
    assert packer.more(first[0], SIZE - 20) == dealt[81:86]
    assert packer.next() == dealt[86:]
    assert packer.more(first[0], SIZE - 20) == packer.next() == []


def test_no_place_is_filled_where_a_job_had_better_be_trained_alone() -> None:
    sweep = small(recipe=Recipe(model=MLP(), optimizer=SGD(lr=0.1)), search=None, early_stop=None, timed=0)
    dealt = jobs(sweep, Stage.FINAL, 12)
    packer = packer_of(Dealt(sweep, dealt[1:], died={dealt[0].id: 2, dealt[3].id: 2}), 1, {})
    assert packer.more(dealt[0], SIZE - 4) == []
    assert packer.more(dealt[1], SIZE - 4) == [dealt[1], dealt[2], dealt[4], dealt[5]]
    assert packer.next() == [dealt[3]]


def test_a_pack_of_a_search_that_learns_has_its_lane_s_share_of_what_may_be_under_way() -> None:
    recipe = Recipe(model=MLP(), optimizer=SGD(lr=log_uniform(0.01, 1.0)))
    sweep = small(recipe=recipe, search=TPE(trials=64), early_stop=None)
    dealt = Dealt(sweep, jobs(sweep, Stage.HEAT, 64, **{"optimizer.lr": 0.1}))
    packer = packer_of(dealt, 2, {})
    first, second = packer.next(), packer.next()
    assert len(first) == len(second) == 8
    assert len(packer.more(first[0], 3)) == 5
    assert packer.more(first[0], 8) == []


def test_where_the_order_matters_the_pack_that_is_ready_goes_first() -> None:
    """Two structures that are dealt in turns, packs of four in one lane."""
    recipe = Recipe(model=MLP(), optimizer=each(SGD(lr=log_uniform(0.01, 1.0)), AdamW(lr=log_uniform(0.01, 1.0))))
    ordered = [0, 0, 0], [3, 0, 0]
    for changes, (filled, filled_next) in (
        ({}, ([4, 4, 4], [4, 4, 4])),
        ({"budget_seconds": 1e6}, ordered),
        ({"search": TPE(trials=64)}, ordered),
    ):
        sweep = small(recipe=recipe, early_stop=None, **{"search": Random(trials=64)} | changes)
        first, second = sweep.levels()
        dealt = [
            Job.of(
                sweep,
                stage=Stage.HEAT,
                level=level,
                point=level | {"optimizer.lr": 0.1},
                seed=seed,
                seeds=sweep.heat_seeds(),
            )
            for seed in range(32)
            for level in (first, second)
        ]
        sizes = {structure(sweep.task, sweep.corner(level, 0)): 4 for level in (first, second)}
        packer = packer_of(Dealt(sweep, [*dealt]), 1, sizes)
        pack = packer.next()
        assert pack == dealt[0:8:2]
        assert [len(packer.more(pack[0], 0)) for _ in range(3)] == filled
        # Those of the other that were drawn meanwhile may join a pack of theirs, though they had been dealt in packs.
        other = packer.next()
        assert other == dealt[1:9:2]
        assert [len(packer.more(other[0], 0)) for _ in range(3)] == filled_next


def test_one_that_is_built_otherwise_does_not_join(tmp_path: Path) -> None:
    """Its data are more than the others'; after it no other is asked for, and all but it are trained together."""
    sweep = small(
        recipe=Recipe(model=MLP(widths=(4,)), batch_size=16, epochs=4, precision=FP64()),
        task=replace(task, name="growing", data=growing),
        search=None,
        early_stop=None,
        timed=0,
    )
    other, *alike = jobs(sweep, Stage.FINAL, 6)
    left: list[int] = []
    lanes: dict[str, list[Any]] = {}

    def tell(said: Mapping[str, Mapping[str, Any]], *, members: int | None = None) -> Word:
        for name, message in said.items():
            lanes.setdefault(name, []).append((message.get("lane"), [row.get("shared") for row in message["rows"]]))
        if members is not None:
            left.append(members)
            return Word(join=[alike[4], other])
        return Word(stop=[name for name in (alike[0].id, alike[1].id) if len(lanes.get(name, ())) == 2])

    PackRunner(runner=Runner(sweep=sweep, folder=tmp_path, threads=1))(alike[:4], tell)
    assert left == [2]
    assert {lane for lane, _ in lanes.pop(other.id)} == {"solo"}
    assert {lane for said in lanes.values() for lane, _ in said} == {None}
    assert [[shared for _, shared in lanes[job.id]] for job in alike] == [
        [[4], [4], []],
        [[4], [4], []],
        [[4], [4], [3], [3], []],
        [[4], [4], [3], [3], []],
        [[3], [3], [1], [1], []],
    ]


def test_a_pack_that_raises_gives_back_those_that_have_joined(tmp_path: Path) -> None:
    """And nothing else: what had ended before is not trained again."""
    sweep = troubled(tmp_path / "p", loss=RaisingWhenTold(place=str(tmp_path / "p")))
    first, *others = jobs(sweep, Stage.FINAL, 6)
    ended: dict[str, list[tuple[str | None, str]]] = {}

    def tell(said: Mapping[str, Mapping[str, Any]], *, members: int | None = None) -> Word:
        for name, message in said.items():
            if "status" in message:
                ended.setdefault(name, []).append((message.get("lane"), message["status"]))
        if "lane" not in said.get(others[4].id, {"lane": None}):
            (tmp_path / "p" / "now").touch()
        return Word(join=[others[4]]) if members == 4 else Word(stop=[first.id])

    PackRunner(runner=Runner(sweep=sweep, folder=tmp_path / "a", threads=1))([first, *others[:4]], tell)
    assert ended == {first.id: [(None, "stopped")]} | {job.id: [("solo", "completed")] for job in others}


def test_members_that_have_left_hold_no_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pack may go on for as long as there are trials, each of which may have a data set of its own."""
    sweep = small(recipe=Recipe(model=MLP(widths=(4,)), batch_size=16, epochs=2), search=None, early_stop=None, timed=0)
    queue, held = jobs(sweep, Stage.FINAL, 40), []
    runner = Runner(sweep=sweep, folder=tmp_path, threads=1)
    drawn: list[weakref.ref[Tensor]] = []
    load = Runner.data

    def data(self: Runner, seed: int, *, beside: Collection[int] = ()) -> Any:
        splits = load(self, seed, beside=beside)
        drawn.append(weakref.ref(splits.train[0]))
        return splits

    monkeypatch.setattr(Runner, "data", data)

    def tell(said: Mapping[str, Mapping[str, Any]], *, members: int | None = None) -> Word:
        joining = [queue.pop(0) for _ in range(min(4 - members, len(queue)))] if members is not None else []
        if members is not None:
            gc.collect()
            held.append(sum(each() is not None for each in drawn))
        return Word(stop=[name for name, message in said.items() if message["rows"]][:2], join=joining)

    PackRunner(runner=runner)([queue.pop(0) for _ in range(4)], tell)
    assert len(drawn) == 40
    assert len(held) >= 18
    assert max(held) <= 4


def test_members_of_a_pack_convert_their_data_once_and_those_that_join_have_it_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = small(
        recipe=Recipe(model=MLP(widths=(4,)), batch_size=16, epochs=3, precision=FP64()),
        vary=("init", "order"),
        search=None,
        early_stop=None,
        timed=0,
    )
    queue, ended = jobs(sweep, Stage.FINAL, 6), []
    done: list[int] = []
    monkeypatch.setattr("trainables.preparing.prepare", lambda *given: done.append(1) or prepare(*given))

    def tell(said: Mapping[str, Mapping[str, Any]], *, members: int | None = None) -> Word:
        ended.extend(name for name, message in said.items() if "status" in message)
        joining = [queue.pop(0) for _ in range(min(4 - members, len(queue)))] if members is not None else []
        return Word(stop=[] if ended else [*said][:2], join=joining)

    PackRunner(runner=Runner(sweep=sweep, folder=tmp_path, threads=1))([queue.pop(0) for _ in range(4)], tell)
    assert len(ended) == 6
    assert done == [1]


def growing(seed: int) -> Any:
    """Of one seed twice as many samples."""
    splits = clusters(seed)
    if seed != small().final_seeds(1).split:
        return splits
    return replace(splits, train=tuple(torch.cat([tensor, tensor]) for tensor in splits.train))


def run_here(sweep: Sweep, folder: Path) -> dict[str, list[Mapping[str, Any]]]:
    """All finals of a sweep as one pack in this process; what is told of each."""
    told: dict[str, list[Mapping[str, Any]]] = {}

    def tell(said: Mapping[str, Mapping[str, Any]], *, members: int | None = None) -> Word:  # noqa: ARG001
        for name, message in said.items():
            told.setdefault(name, []).append(message)
        return Word()

    PackRunner(runner=Runner(sweep=sweep, folder=folder, threads=1))(jobs(sweep, Stage.FINAL, 5), tell)
    return told


def test_a_member_whose_checkpoint_is_of_no_use_to_a_pack_goes_on_alone(tmp_path: Path) -> None:
    """One broke off within an epoch, in another lane; one's last state is damaged, and its only one."""
    sweep = small(
        recipe=Recipe(model=MLP(widths=(4,)), batch_size=16, epochs=4, precision=FP64()),
        search=None,
        early_stop=None,
        timed=0,
    )
    within, damaged, *others = jobs(sweep, Stage.FINAL, 5)

    class BrokenOffError(Exception):
        pass

    def broken(_: Any, batches: Any) -> Iterator[Any]:
        for number, batch in enumerate(batches):
            if number == 2 and (tmp_path / "a" / within.id / "last.pt").exists():
                raise BrokenOffError
            yield batch

    with pytest.raises(BrokenOffError):
        train(
            sweep.task,
            sweep.resolved(within.point, within.seeds),
            folder=tmp_path / "a" / within.id,
            splits=sweep.task.load(within.seeds.split),
            keep=Keep(steps=1),
            report=lambda _: False,
            through=broken,
        )
    (tmp_path / "a" / damaged.id).mkdir()
    (tmp_path / "a" / damaged.id / "last.pt").write_bytes(b"nothing")
    told = run_here(sweep, tmp_path / "a")
    whole = run_here(sweep, tmp_path / "b")
    lanes = {name: {message.get("lane") for message in said} for name, said in told.items()}
    assert lanes == {within.id: {"solo"}, damaged.id: {"solo"}} | {job.id: {None} for job in others}
    remarks = {name: {row.get("remark") for message in said for row in message["rows"]} for name, said in told.items()}
    assert remarks[within.id] == {"not fused, checkpoint: it was taken within an epoch"}
    assert "last.pt was damaged and the only state; the run began anew" in remarks[damaged.id]
    for name, said in told.items():
        rows = [row for message in said for row in message["rows"]]
        expected = [row for message in whole[name] for row in message["rows"]]
        assert [row["epoch"] for row in rows] == [1, 2, 3, 4]
        assert [row["val/loss"] for row in rows] == pytest.approx([row["val/loss"] for row in expected], rel=TOLERANCE)
        assert [row["step"] for row in rows] == [row["step"] for row in expected]


def test_what_a_sweep_asks_that_packs_cannot_give_is_said() -> None:
    good = everything()
    assert why_alone(good) == []
    assert why_alone(replace(good, log_every=5)) == [
        "profile, log_every and keep ask for what only a trial alone can give"
    ]
    noisy = replace(good, recipe=replace(good.recipe, augment=Noise(std=0.1)))
    assert why_alone(noisy) == ["augment: what it draws is drawn run by run"]
