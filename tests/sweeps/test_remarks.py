"""What is said after the answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from analysis.records import Scalar, Stage, Status, TrialRecord
from sweeps import TPE, each
from sweeps.remarks import failures, losses, short_searches
from tests.planted import planted_record
from tests.sweeps.small import small


def heats(level: Mapping[str, Scalar], count: int) -> list[TrialRecord]:
    planted = [planted_record(level=8, stage=Stage.HEAT, seed=0, number=number, score=0.5) for number in range(count)]
    return [
        replace(record, id=f"{level}-{number}", level=level, point={**level, "optimizer.lr": 0.001 * (number + 1)})
        for number, record in enumerate(planted)
    ]


def test_a_search_that_the_budget_closed_is_said() -> None:
    sweep = small(budget_seconds=1.0)
    short = [*heats({"batch_size": 8}, 3), *heats({"batch_size": 32}, 2)]
    assert short_searches(sweep, short) == [
        "The budget closed the search at 2 to 3 of 5 heats a level; without it the rest is run."
    ]
    assert "at 2 of 5 heats a level" in short_searches(sweep, short[1:])[0]
    assert short_searches(replace(sweep, budget_seconds=None), short) == []
    assert short_searches(sweep, [*heats({"batch_size": 8}, 5), *heats({"batch_size": 32}, 6)]) == []


def test_every_level_is_held_against_its_own_number_of_heats() -> None:
    sweep = small(budget_seconds=1.0, search=TPE(trials=each(2, 4)))
    whole = [record for level in sweep.levels() for record in heats(level, sweep.heats(level))]
    assert len(whole) == 12
    assert short_searches(sweep, whole) == []
    assert short_searches(sweep, whole[:-1]) == [
        "The budget closed the search at 11 of 12 heats; without it the rest is run."
    ]


def test_failures_are_counted_by_reason_and_lost_finals_are_losses() -> None:
    sweep = small(seeds=1)
    finals = [
        replace(
            planted_record(level=size, stage=Stage.FINAL, seed=1, number=size, score=0.5), level={"batch_size": size}
        )
        for size in (8, 32)
    ]
    assert not losses(sweep, finals)
    assert losses(sweep, finals[:1])
    failed = [replace(finals[0], id=f"{n}", status=Status.FAILED, reason=f"reason {n // 2}") for n in range(9)]
    assert losses(sweep, [*finals, *failed])
    said = failures([*finals, *failed])
    assert said[0] == "2 trials failed: reason 0"
    assert said[-1] == "… and 2 other reasons; the page has them all"
