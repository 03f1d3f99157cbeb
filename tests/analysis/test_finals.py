"""Which finals count, and what becomes of the others."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from analysis.finals import gather, shared_seeds
from analysis.records import Stage, Status, TrialRecord, Turn
from tests.analysis.asked import asked
from tests.planted import planted_record, planted_records


def final(seed: int, *, score: float = 0.9, status: Status = Status.COMPLETED, number: int = 0) -> TrialRecord:
    """A final of level 8."""
    return planted_record(level=8, stage=Stage.FINAL, seed=seed, number=number, score=score, status=status)


def test_finals_are_sorted_by_what_became_of_them() -> None:
    no_score = replace(final(8), metrics={"val/accuracy": 0.9})
    records = [
        final(1, score=0.91),
        final(2, status=Status.DIVERGED),
        final(3, status=Status.FAILED),
        final(4, status=Status.OUT_OF_MEMORY),
        final(5, status=Status.STOPPED),
        final(6, status=Status.RUNNING),
        final(7, score=math.nan),
        no_score,
    ]
    (level,) = gather(asked([8], seeds=8), records)
    assert level.scores == {1: pytest.approx(0.91)}
    assert set(level.diverged) == {2, 7, 8}
    assert set(level.lost) == {3, 4, 5}
    assert not level.clean
    assert level.share_diverged == 0.75
    assert [record.seed for record in level.used] == [1, 2, 7, 8]


def test_heats_are_counted_but_never_scored() -> None:
    records = planted_records({8: [0.9, 0.8]}, heats=4)
    running = planted_record(level=8, stage=Stage.HEAT, seed=0, number=99, score=0.99, status=Status.RUNNING)
    (level,) = gather(asked([8], seeds=2), [*records, running])
    assert (level.heats, level.stopped) == (4, 2)
    assert level.mean == pytest.approx(0.85)


def test_finals_of_one_point_with_other_settings_before_it_do_not_mix() -> None:
    turn = Turn(until=3, point={"batch_size": 8, "optimizer.lr": 0.1})
    old, new = final(1, score=0.99, number=1), replace(final(2, number=2), earlier=(turn,))
    (level,) = gather(asked([8], seeds=2), [old, new])
    assert level.earlier == (turn,)
    assert set(level.scores) == {2}


def test_a_segment_that_ended_where_it_should_was_not_stopped() -> None:
    cut = planted_record(level=8, stage=Stage.HEAT, seed=0, number=1, score=0.5, status=Status.STOPPED)
    (level,) = gather(asked([8], seeds=1), [cut, replace(cut, id="other", until=4), final(1)])
    assert (level.heats, level.stopped) == (2, 1)


@pytest.mark.parametrize("timed", [True, False])
def test_only_finals_at_the_point_of_the_latest_count(timed: bool) -> None:
    old = [
        replace(final(seed, score=0.99, number=seed), point={"batch_size": 8, "optimizer.lr": 0.1})
        for seed in (1, 2, 3)
    ]
    new = [final(seed, score=0.90, number=10 + seed) for seed in (1, 2)]
    records = old + new if timed else [replace(record, started=None, number=None) for record in old + new]
    (level,) = gather(asked([8], seeds=3), records)
    assert level.point == {"batch_size": 8, "optimizer.lr": 1e-3}
    assert level.scores == {1: pytest.approx(0.9), 2: pytest.approx(0.9)}


def test_the_later_final_of_a_seed_counts() -> None:
    (level,) = gather(asked([8], seeds=1), [final(1, status=Status.FAILED), final(1, score=0.9, number=1)])
    assert set(level.scores) == {1}
    assert not level.lost


def test_every_level_of_the_question_is_there_and_no_other() -> None:
    records = planted_records({16: [0.9], 64: [0.8]}, heats=0)
    levels = gather(asked([32, 16], seeds=1), records)
    assert [level.label for level in levels] == ["32", "16"]
    assert [bool(level.scores) for level in levels] == [False, True]
    assert math.isnan(levels[0].mean)


def test_labels_join_the_values_of_all_factors() -> None:
    question = asked({"batch_size": (16, 32), "optimizer.lr": (0.001, 0.1), "nesterov": (True,)}, seeds=1)
    assert [level.label for level in gather(question, [])] == [
        "16, 1e-3, nesterov=True",
        "16, 0.1, nesterov=True",
        "32, 1e-3, nesterov=True",
        "32, 0.1, nesterov=True",
    ]


def test_without_factors_one_level_bears_the_sweeps_name() -> None:
    records = [replace(record, level={}) for record in planted_records({8: [0.9, 0.8]}, heats=0)]
    (level,) = gather(asked({}, seeds=2), records)
    assert not level.level
    assert level.label == "planted"
    assert level.mean == pytest.approx(0.85)


def test_shared_seeds_are_those_that_all_finished() -> None:
    records = planted_records({16: [0.9] * 4, 32: [0.8] * 4}, heats=0, failed=[(16, 2)])
    levels = gather(asked([16, 32], seeds=4), records)
    assert shared_seeds(levels) == [1, 3, 4]
    assert shared_seeds([]) == []
