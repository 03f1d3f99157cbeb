"""What the plan says a sweep will take."""

from __future__ import annotations

from dataclasses import replace

from sweeps import Resources, each
from sweeps.engine.estimate import GROUP_SECONDS, START_SECONDS, TRIAL_SECONDS, estimate
from sweeps.engine.lanes.choice import lane_of
from tests.sweeps.small import small


def guessed(**changes: object) -> float:
    return estimate(small(**changes), [], concurrency=1).seconds


def test_auto_takes_a_crew_for_several_workers_alone() -> None:
    assert lane_of(small()) == "solo"
    assert lane_of(small(resources=Resources(workers=2))) == "crew"
    assert lane_of(small(resources=Resources(workers=each(1, 2)))) == "crew"
    assert lane_of(small(lane="gang")) == "gang"


def test_a_crew_starts_its_group_once_and_a_gang_one_for_each_trial() -> None:
    two = Resources(workers=2)
    sweep = small(resources=two)
    trials = len(sweep.levels()) * (sweep.trials + sweep.seeds)
    crew, gang = guessed(resources=two, lane="crew"), guessed(resources=two, lane="gang")
    assert crew - guessed(lane="solo") > GROUP_SECONDS
    assert gang - crew > 0.5 * trials * TRIAL_SECONDS["gang"]
    both = replace(sweep, resources=Resources(workers=each(1, 2)), search=None, early_stop=None, seeds=1)
    assert estimate(both, [], concurrency=1).seconds < START_SECONDS + 2 * GROUP_SECONDS
