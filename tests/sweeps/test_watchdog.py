"""What hangs is named, what can never go on is ended: planted clusters and clocks, then Ray itself."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from analysis.ledger import read_ledger
from analysis.records import Stage, Status, TrialRecord
from sweeps.engine.capacity import Growth, Node
from sweeps.engine.cluster import Process, Scene
from sweeps.engine.diagnosis import hopeless, possible, reasons
from sweeps.engine.watchdog import INTERRUPTED, Limits, StalledError, Watchdog
from tests.planted import planted_record

ROOT = Path(__file__).resolve().parents[2]
LIMITS = Limits(look=0.01, quiet=60, times=10, hopeless=600, answer=0.2, gone=30, leave=0.05)

NODES = (
    Node(name="10.0.0.1", holds={"CPU": 2.0}, head=True),
    Node(name="10.0.0.2", holds={"CPU": 8.0, "GPU": 1.0}),
)
WORKER = Process(pid=4242, machine="10.0.0.2", kind="ImplicitFunc")
STARTING = Process(pid=0, machine="10.0.0.2", kind="ImplicitFunc")
CONTROLLER = Process(pid=7, machine="10.0.0.1", kind="TrainController")
GPUS = ({"CPU": 1.0, "GPU": 1.0}, {"CPU": 1.0, "GPU": 1.0})
SMALL = ({"CPU": 1.0},)


class World:
    """A cluster, a clock and a sweep that a test moves, with all that the watchdog said and did."""

    def __init__(self, scene: Scene, limits: Limits = LIMITS, *, mute: threading.Event | None = None) -> None:
        self.spoke: dict[str, float] = {}
        self.now, self.scene, self.reachable, self._mute = 0.0, scene, True, mute
        self.said: list[str] = []
        self.abandoned: list[str] = []
        self.looks = self.interrupted = 0
        self.ended, self.left = threading.Event(), threading.Event()
        self.watchdog = Watchdog(
            lane="solo",
            say=self.said.append,
            look=self.look,
            answers=lambda: self.reachable,
            spoke=lambda name: self.now - self.spoke[name] if name in self.spoke else None,
            limits=limits,
            interrupt=self.interrupt,
            abandon=self.abandon,
            clock=lambda: self.now,
        )

    def look(self) -> Scene:
        self.looks += 1
        if self._mute is not None:
            self._mute.wait()
        return self.scene

    def interrupt(self) -> None:
        self.interrupted += 1
        self.ended.set()

    def abandon(self, words: str) -> None:
        self.abandoned.append(words)
        self.left.set()

    def passes(self, seconds: int, every: int = 5) -> list[str]:
        """Let time go by, looking every few seconds; what was said in it comes back."""
        before = len(self.said)
        for _ in range(0, seconds, every):
            self.now += every
            if self.watchdog.words is None:
                self.watchdog.check()
        return self.said[before:]


@pytest.fixture
def trial() -> TrialRecord:
    return planted_record(level=64, stage=Stage.FINAL, seed=3, number=17, score=0.9)


@pytest.fixture
def heat() -> TrialRecord:
    return planted_record(level=16, stage=Stage.HEAT, seed=0, number=17, score=0.9)


def test_nothing_is_said_while_trials_tell(trial: TrialRecord) -> None:
    world = World(Scene(nodes=NODES, processes=(WORKER,)))
    world.watchdog.started(trial)
    for epoch in range(1, 20):
        assert world.passes(50) == []
        world.watchdog.reported(trial.id, {"epoch": epoch})
    world.watchdog.ended(trial)
    assert world.passes(10_000) == []
    assert world.looks == 0, "Ray is not asked while all is well"


def test_a_trial_in_a_long_epoch_is_not_silent_while_it_says_how_far_it_is(trial: TrialRecord) -> None:
    world = World(Scene(nodes=NODES, processes=(WORKER,)))
    world.watchdog.started(trial)
    for _ in range(100):
        world.spoke[trial.id] = world.now
        assert world.passes(50) == []
    assert world.passes(60) != []


def test_a_trial_that_tells_nothing_is_named_with_its_process(trial: TrialRecord) -> None:
    world = World(Scene(nodes=NODES, processes=(WORKER, CONTROLLER)))
    world.watchdog.started(trial)
    world.passes(5)
    world.watchdog.reported(trial.id, {"epoch": 7})
    assert world.passes(60) == []
    assert world.passes(5) == [
        "No word from 64 final s3 (epoch 7, 1 min 5 s): alive: pid 4242 on 10.0.0.2; "
        "what one does, there: py-spy dump --pid 4242"
    ]


def test_it_is_said_again_ever_more_seldom_and_anew_after_a_word(trial: TrialRecord) -> None:
    world = World(Scene(nodes=NODES, processes=(WORKER,)))
    world.watchdog.started(trial)
    assert len(world.passes(60 * 60)) == 6, "after 1, 2, 4, 8, 16, 32 minutes"
    world.watchdog.reported(trial.id, {"epoch": 1})
    assert world.passes(60) == []
    assert len(world.passes(5)) == 1


def test_a_slow_epoch_is_named_late_and_never_ended(trial: TrialRecord) -> None:
    world = World(Scene(nodes=NODES, processes=(WORKER,)))
    world.watchdog.started(trial)
    for epoch in (1, 2):
        world.passes(50)
        world.watchdog.reported(trial.id, {"epoch": epoch})
    assert world.passes(500) == [], "ten times the longest epoch so far"
    assert len(world.passes(5)) == 1
    world.passes(24 * 3600, every=60)
    assert (world.interrupted, world.watchdog.words) == (0, None)


def test_one_trial_that_hangs_among_others_is_named(trial: TrialRecord, heat: TrialRecord) -> None:
    world = World(Scene(nodes=NODES, processes=(WORKER,)))
    world.watchdog.started(trial)
    world.watchdog.started(heat)
    said: list[str] = []
    for epoch in range(1, 15):
        world.watchdog.reported(heat.id, {"epoch": epoch})
        said += world.passes(5)
    (line,) = said
    assert line.startswith("No word from 64 final s3 (not begun, 1 min 5 s): ")


def test_many_silent_trials_are_counted_in_one_line(heat: TrialRecord) -> None:
    world = World(Scene(nodes=NODES, processes=(WORKER,)))
    for number in range(9):
        world.watchdog.started(replace(heat, id=f"trial {number}", number=number))
    (line,) = world.passes(65)
    assert line.startswith(
        "No word from 16 heat t000 (not begun, 1 min 5 s), 16 heat t001 (not begun, 1 min 5 s), 16 heat t002"
    )
    assert " and 6 more: " in line


@pytest.mark.parametrize(
    ("scene", "growth", "words"),
    [
        (
            Scene(nodes=NODES[:1], gone=("10.0.0.2",), waiting=(GPUS, GPUS)),
            Growth(),
            "gone: machine 10.0.0.2; 2 groups of workers wait for 2 x (1 CPU, 1 GPU); no machine that is there or could come has "
            "that; no process of it is alive",
        ),
        (
            Scene(nodes=NODES, waiting=(SMALL,)),
            Growth(),
            "1 group of workers waits for 1 x (1 CPU); others hold what is there; no process of it is alive",
        ),
        (
            Scene(nodes=NODES, waiting=(GPUS,)),
            Growth(kinds=((NODES[1], 3),), most=3),
            "1 group of workers waits for 2 x (1 CPU, 1 GPU); the cluster may still grow; no process of it is alive",
        ),
        (
            Scene(nodes=NODES, waiting=(GPUS,)),
            Growth(machines=("10.0.0.2", "10.0.0.3")),
            "1 group of workers waits for 2 x (1 CPU, 1 GPU); others hold what is there; 10.0.0.3 is named in the cluster's file, "
            "but Ray does not see it; no process of it is alive",
        ),
        (Scene(nodes=NODES, processes=(STARTING,)), Growth(), "being started: 1 worker"),
        (Scene(nodes=NODES, processes=(CONTROLLER,)), Growth(), "no process of it is alive"),
    ],
)
def test_what_is_waited_for_is_named(scene: Scene, growth: Growth, words: str) -> None:
    assert reasons(scene, "ImplicitFunc", growth) == words


@pytest.mark.parametrize(
    ("group", "growth", "can"),
    [
        (SMALL, Growth(), True),
        (GPUS[:1], Growth(), True),
        (GPUS, Growth(), False),
        (({"CPU": 9.0},), Growth(), False),
        (({"CPU": 5.0}, {"CPU": 5.0}), Growth(), False),
        (({"CPU": 1.0, "accelerator_type:T4": 0.001},), Growth(), False),
        (GPUS, Growth(kinds=((NODES[1], 2),), most=2), True),
        (GPUS, Growth(machines=("10.0.0.9",)), True),
    ],
)
def test_what_could_ever_be_placed(group: tuple[dict[str, float], ...], growth: Growth, can: bool) -> None:
    assert possible(group, NODES, growth) is can


@pytest.mark.parametrize(
    ("scene", "lost"),
    [
        (Scene(nodes=NODES, waiting=(GPUS,)), True),
        (Scene(nodes=NODES), True),
        (Scene(nodes=NODES, waiting=(GPUS, SMALL)), False),
        (Scene(nodes=NODES, waiting=(GPUS,), processes=(WORKER,)), False),
        (Scene(nodes=NODES, waiting=(GPUS,), processes=(STARTING,)), False),
        (Scene(nodes=NODES, waiting=(GPUS,), processes=(CONTROLLER,)), True),
    ],
)
def test_what_is_hopeless(scene: Scene, lost: bool) -> None:
    assert (hopeless(scene, "ImplicitFunc") is not None) is lost


def test_what_can_never_go_on_is_ended_with_words(trial: TrialRecord) -> None:
    world = World(Scene(nodes=NODES, waiting=(GPUS,)))
    world.watchdog.started(trial)
    world.passes(60 + 600)
    assert world.interrupted == 0
    world.passes(5)
    assert world.interrupted == 1
    assert world.watchdog.words == (
        "No word from 64 final s3 (not begun, 11 min 5 s), and nothing can change that: 1 group of workers waits for "
        "2 x (1 CPU, 1 GPU); no machine that is there or could come has that; no process of it is alive"
    )


def test_whatever_moves_begins_a_new_wait(trial: TrialRecord) -> None:
    world = World(Scene(nodes=NODES, waiting=(GPUS,)))
    world.watchdog.started(trial)
    for waiting in ((GPUS, GPUS), (GPUS,), (), (GPUS,)):
        world.passes(500)
        world.scene = replace(world.scene, waiting=waiting)
    world.passes(500)
    assert world.interrupted == 0
    world.passes(200)
    assert world.interrupted == 1


def test_a_machine_that_was_gone_before_is_not_blamed(trial: TrialRecord) -> None:
    world = World(Scene(nodes=NODES, gone=("10.0.0.8",), processes=(WORKER,)))
    world.watchdog.started(trial)
    (first,) = world.passes(65)
    world.scene = replace(world.scene, gone=("10.0.0.8", "10.0.0.9"))
    (second,) = world.passes(65)
    assert "gone" not in first
    assert "gone: machine 10.0.0.9; " in second


def test_rays_head_gone_is_said_and_ends_the_sweep(trial: TrialRecord) -> None:
    world = World(Scene(nodes=NODES, processes=(WORKER,)))
    world.watchdog.started(trial)
    world.reachable = False
    assert world.passes(25) == ["Ray's head (GCS) does not answer; if it stays so for 30 s, the sweep ends here"]
    world.reachable = True
    world.passes(5)
    world.reachable = False
    assert len(world.passes(30)) == 1, "it had answered again"
    assert world.interrupted == 0
    world.passes(5)
    assert world.interrupted == 1
    assert world.watchdog.words == "Ray's head (GCS) does not answer any more: it was killed, or its machine is gone"


@pytest.fixture
def blocked() -> Iterator[threading.Event]:
    """Holds a question up until the test is over."""
    event = threading.Event()
    yield event
    event.set()


def test_a_head_that_takes_questions_and_never_answers_is_gone_too(
    trial: TrialRecord, blocked: threading.Event
) -> None:
    world = World(Scene(nodes=NODES), mute=blocked)
    world.watchdog.started(trial)
    assert world.passes(90) == ["Ray's head (GCS) does not answer; if it stays so for 30 s, the sweep ends here"]
    world.passes(5)
    assert (world.interrupted, world.looks) == (1, 1), "a question that hangs is not asked twice"


def test_leaving_raises_what_it_ended_for(trial: TrialRecord) -> None:
    world = World(Scene(nodes=NODES), replace(LIMITS, hopeless=0, leave=60))

    def race() -> None:
        with world.watchdog:
            world.watchdog.started(trial)
            world.now = 61
            assert world.ended.wait(60)
            raise KeyboardInterrupt

    with pytest.raises(StalledError, match=r"64 final s3 .*no process of it is alive"):
        race()
    assert world.abandoned == []


def test_leaving_raises_nothing_of_its_own_otherwise() -> None:
    with World(Scene(nodes=NODES)).watchdog as watchdog:
        pass
    assert watchdog.words is None
    with pytest.raises(KeyboardInterrupt), World(Scene(nodes=NODES)).watchdog:
        raise KeyboardInterrupt


def test_a_run_that_does_not_heed_is_abandoned(trial: TrialRecord) -> None:
    world = World(Scene(nodes=NODES), replace(LIMITS, hopeless=0))
    with world.watchdog:
        world.watchdog.started(trial)
        world.now = 61
        assert world.left.wait(60)
    assert (world.interrupted, world.abandoned) == (1, [world.watchdog.words])


def run(folder: Path, lane: str, trouble: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "tests" / "sweeps" / "stalled.py"), str(folder), lane, trouble],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "EPOCH_SECONDS": "0.2"},
        cwd=ROOT,
        timeout=800,
        check=False,
    )


@pytest.mark.slow
def test_real_workers_that_ray_can_never_place_end_the_sweep(tmp_path: Path) -> None:
    done = run(tmp_path / "small", "solo", "place")
    assert done.returncode == INTERRUPTED, done.stdout + done.stderr
    assert "note: No word from 8 heat t000 (not begun" in done.stdout
    last = done.stdout.splitlines()[-1]
    assert last.startswith("ended: No word from 8 heat t000 (not begun, ")
    assert "1 group of workers waits for 1 x (999 CPUs); no machine that is there or could come has that" in last
    (record,) = read_ledger(tmp_path / "small")
    assert record.status is Status.RUNNING, "the same command takes it up again"


@pytest.mark.slow
def test_rays_real_head_killed_in_mid_sweep_ends_it_with_words(tmp_path: Path) -> None:
    done = run(tmp_path / "small", "solo", "head")
    assert done.returncode == INTERRUPTED, done.stdout + done.stderr
    assert "note: Ray's head (GCS) does not answer; if it stays so for 5.0 s, the sweep ends here" in done.stdout
    assert "Ray's head (GCS) does not answer any more" in done.stdout.splitlines()[-1] + done.stderr
    assert any(record.status is Status.RUNNING for record in read_ledger(tmp_path / "small"))
