"""How long a run will take, by arithmetic."""

from __future__ import annotations

import pytest

from trainables.progress.standing import Standing, usual


def trained(
    standing: Standing, epoch: int, begin: float, *, steps: int = 10, step: float = 1.0, validation: float = 2.0
) -> float:
    """One whole epoch; the moment of its end."""
    standing.epoch_begins(epoch, 0, begin)
    for done in range(1, steps + 1):
        standing.stepped(done, begin + done * step)
    standing.validates(begin + steps * step)
    end = begin + steps * step + validation
    standing.epoch_ends(epoch, end)
    return end


def test_nothing_is_said_before_there_is_a_pace() -> None:
    standing = Standing(epochs=3, steps=10)
    assert standing.run_left(0.0) is None
    standing.epoch_begins(1, 0, 5.0)
    assert standing.step_seconds(5.0) is None
    assert standing.epoch_left(6.0) is None
    assert standing.run_left(6.0) is None


def test_the_first_epoch_goes_by_its_steps() -> None:
    standing = Standing(epochs=3, steps=10)
    standing.epoch_begins(1, 0, 0.0)
    standing.stepped(4, 8.0)
    assert standing.step_seconds(8.0) == 2.0
    assert standing.epoch_left(8.0) == 12.0
    assert standing.run_left(8.0) == 12.0 + 2 * 20.0


def test_validation_is_part_of_what_is_left() -> None:
    standing = Standing(epochs=3, steps=10)
    end = trained(standing, 1, 0.0)
    assert end == 12.0
    assert standing.run_left(end) == 2 * 12.0
    standing.epoch_begins(2, 0, end)
    standing.stepped(5, end + 5.0)
    assert standing.epoch_left(end + 5.0) == 5.0 + 2.0
    assert standing.run_left(end + 5.0) == 7.0 + 12.0
    standing.stepped(10, end + 10.0)
    standing.validates(end + 10.0)
    assert standing.epoch_left(end + 10.5) == 1.5
    assert standing.epoch_left(end + 13.0) == 0.0  # longer than last time


def test_the_pace_is_the_one_of_late() -> None:
    standing = Standing(epochs=1, steps=1000)
    standing.epoch_begins(1, 0, 0.0)
    now = 0.0
    for done in range(1, 101):
        now += 1.0 if done <= 50 else 3.0
        standing.stepped(done, now)
    assert standing.step_seconds(now) == pytest.approx(3.0)


def test_a_resumed_run_goes_by_its_history_until_it_has_a_pace() -> None:
    history = [{"epoch": 1, "seconds": 8.0, "wall_seconds": 10.0}, {"epoch": 2, "seconds": 16.0, "wall_seconds": 20.0}]
    standing = Standing(epochs=5, steps=10, ended=2, usual=usual(history))
    assert standing.usual == (10.0, 2.0)
    assert standing.run_left(0.0) == 30.0
    standing.epoch_begins(3, 6, 0.0)  # six steps an earlier process had taken
    assert standing.step_seconds(0.0) is None
    standing.stepped(8, 4.0)
    assert standing.step_seconds(4.0) == 2.0
    assert standing.epoch_left(4.0) == 2 * 2.0 + 2.0
    assert standing.run_left(4.0) == 6.0 + 2 * (10 * 2.0 + 2.0)
    standing.stepped(10, 8.0)
    standing.validates(8.0)
    standing.epoch_ends(3, 9.0)
    # A part of an epoch is no measure of a whole one.
    assert standing.run_left(9.0) == 2 * (10 * 2.0 + 1.0)
    assert usual([]) is None


def test_unknown_lengths_say_nothing_of_the_end() -> None:
    standing = Standing()
    standing.epoch_begins(1, 0, 0.0)
    standing.stepped(3, 6.0)
    assert standing.step_seconds(6.0) == 2.0
    assert standing.epoch_left(6.0) is None
    assert standing.run_left(6.0) is None


def test_at_the_end_nothing_is_left() -> None:
    standing = Standing(epochs=1, steps=10)
    assert standing.run_left(trained(standing, 1, 0.0)) == 0.0
