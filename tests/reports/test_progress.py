"""Counts of a sweep under way."""

from __future__ import annotations

from dataclasses import replace

import pytest

from analysis.records import Stage, Status, Turn
from reports.progress import Progress
from reports.pulses import Pulse
from tests.planted import planted_record


def progress(levels: tuple[str, ...] = ("16", "32"), mode: str = "max") -> Progress:
    return Progress(levels=levels, heats=[4 for _ in levels], seeds=2, epochs=6, metric="accuracy", mode=mode)


def heat(number: int, *, level: int = 16, score: float = 0.9, status: Status = Status.COMPLETED, epochs: int = 6):
    return planted_record(
        level=level, stage=Stage.HEAT, seed=0, number=number, score=score, status=status, epochs=epochs
    )


def test_a_trial_counts_once_with_its_last_status() -> None:
    state = progress()
    record = heat(1)
    state.began(record)
    assert state.running == 1
    state.over(replace(record, status=Status.FAILED))
    assert state.standings()[0].lost == 1
    assert state.done(Stage.HEAT) == 0
    state.began(record)
    state.over(record)
    state.over(record)
    standing = state.standings()[0]
    assert (standing.heats, standing.lost, standing.running) == (1, 0, 0)


def test_a_segment_counts_its_own_epochs_and_was_not_stopped() -> None:
    state = Progress(levels=("16",), heats=[6], seeds=0, epochs=6, metric="accuracy", mode="max")
    turn = Turn(until=4, point={"optimizer.lr": 0.1})
    segment = replace(heat(1, epochs=2, status=Status.STOPPED), parent="other", earlier=(turn,), until=6, history=())
    state.began(replace(segment, status=Status.RUNNING, epochs=0))
    for epoch in (5, 6):
        state.told(segment.id, {"epoch": epoch, "val/accuracy": 0.5})
    assert state.left(2.0) == (6 - 2) + 5 * 6
    state.over(segment)
    assert state.standings()[0].stopped == 0
    assert state.left(2.0) == 5 * 2
    state.over(heat(2, status=Status.STOPPED))
    assert state.standings()[0].stopped == 1


@pytest.mark.parametrize(("mode", "best"), [("max", 0.95), ("min", 0.4)])
def test_the_best_value_follows_the_goals_direction_and_comes_from_heats_alone(mode: str, best: float) -> None:
    state = progress(mode=mode)
    state.began(heat(1))
    state.told(heat(1).id, {"epoch": 1, "val/accuracy": 0.4})
    state.told(heat(1).id, {"epoch": 2, "val/accuracy": 0.95})
    state.told(heat(1).id, {"epoch": 3, "val/accuracy": float("nan")})
    state.told(heat(1).id, {"epoch": 4})
    final = planted_record(level=16, stage=Stage.FINAL, seed=1, number=9, score=0.99 if mode == "max" else 0.01)
    state.over(final)
    assert state.standings()[0].best == best
    assert state.standings()[1].best is None


def test_an_epoch_of_an_unknown_trial_is_left_out() -> None:
    state = progress()
    state.told("nobody", {"epoch": 1, "val/accuracy": 1.0})
    assert state.best() is None


def test_time_to_go_is_the_epochs_left_at_this_commands_own_pace() -> None:
    state = progress(levels=("16",))
    for number in range(2):  # of an earlier command: no pace
        state.over(heat(number), earlier=True)
    assert state.left(10.0) is None
    state.over(heat(3, status=Status.STOPPED, epochs=3))
    # 3 epochs in 6 s; a heat takes (6 + 6 + 3) / 3 = 5 epochs on average: 5 for the last heat, 12 for two finals
    assert state.left(6.0) == pytest.approx((5 + 12) * 2.0)
    state.began(replace(heat(4), history=()))
    state.told(heat(4).id, {"epoch": 2})
    assert state.left(10.0) == pytest.approx((3 + 12) * 2.0)


def test_a_resumed_trial_counts_only_the_epochs_it_trains_now() -> None:
    state = progress(levels=("16",))
    state.began(heat(1))  # its history holds six epochs
    state.told(heat(1).id, {"epoch": 6})
    assert state.left(5.0) is None


def test_a_sweep_without_factors_has_one_level() -> None:
    state = progress(levels=("digits",))
    state.over(replace(heat(1), level={}))
    assert [standing.label for standing in state.standings()] == ["digits"]
    assert state.standings()[0].heats == 1


def test_the_leader_is_the_best_heat_with_its_point() -> None:
    state = progress(mode="max")
    assert state.leader() is None
    for number, score in ((1, 0.8), (2, 0.9), (3, 0.9)):
        state.over(replace(heat(number, score=score), point={"batch_size": 16, "optimizer.lr": 0.00312, "depth": 3}))
    state.over(planted_record(level=16, stage=Stage.FINAL, seed=1, number=9, score=0.99))
    leader = state.leader()
    assert leader is not None
    assert (leader.name, leader.value, leader.point) == ("16 heat t002", 0.9, "lr 0.0031, depth 3")


def test_parts_of_long_epochs_count_until_the_epoch_is_told() -> None:
    state = Progress(levels=("16",), heats=[1], seeds=0, epochs=4, metric="accuracy", mode="max")
    state.began(replace(heat(1), history=(), status=Status.RUNNING), 5.0)
    said = Pulse(epoch=1, part=0.5, loss=0.4, lr=0.1, seconds=60.0, validating=False)
    state.pulsed(heat(1).id, said)
    state.pulsed("nobody", said)
    assert state.left(30.0) == 3.5 * 60.0
    (trial,) = state.under_way()
    assert (trial.epoch, trial.loss, trial.lr, trial.seconds, trial.since) == (0.5, 0.4, 0.1, 60.0, 5.0)
    state.told(heat(1).id, {"epoch": 1, "train/loss": 0.3, "wall_seconds": 66.0})
    (trial,) = state.under_way()
    assert (trial.epoch, trial.loss, trial.lr, trial.seconds) == (1.0, 0.3, None, 66.0)
    state.told(heat(1).id, {"epoch": 2, "wall_seconds": 130.0})
    assert state.seconds(heat(1).id) == 64.0
