"""What the plan says a sweep will take."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from analysis.records import Cost, Stage, TrialRecord
from sweeps import TPE, Random, Resources, each
from sweeps.engine.estimate import GROUP_SECONDS, START_SECONDS, TRIAL_SECONDS, estimate
from sweeps.engine.estimate import steps as step_count
from sweeps.engine.job import Job
from sweeps.engine.lanes.choice import lane_of
from sweeps.plan import TRIED, lane, look, show
from tests.sweeps.played import play, record
from tests.sweeps.small import small


def guessed(*, packed: bool = False, **changes: object) -> float:
    return estimate(small(**changes), [], concurrency=1, packed=packed).seconds


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


def test_finals_are_reckoned_by_what_finals_took_and_packs_by_their_share_of_the_processor() -> None:
    """Heats alone, finals in packs: more finals take what those of the packs did."""
    steps, threads = 40, 2

    def ran(final: float) -> list[TrialRecord]:
        def outcome(job: Job) -> TrialRecord:
            ended = replace(record(job, [0.5] * 4), steps=steps, lane="solo", cost=Cost(seconds=4.0, cpu_seconds=4.0))
            if job.stage is Stage.HEAT:
                return ended
            rows = [{**row, "shared": 8} for row in ended.history]
            return replace(ended, history=rows, lane="fused", cost=Cost(cpu_seconds=final))

        return play(sweep, outcome)

    sweep = small(resources=Resources(cpus=threads))
    more = replace(sweep, seeds=sweep.seeds + 10)
    cheap, dear = (estimate(more, ran(final), concurrency=1) for final in (0.2, 2.0))
    assert cheap.measured
    planned = [step_count(more, level, 61) for level in more.levels()]
    assert dear.seconds - cheap.seconds == pytest.approx(10 * sum(planned) * (2.0 - 0.2) / threads / steps)
    assert cheap.seconds == pytest.approx(
        START_SECONDS + 10 * sum(TRIAL_SECONDS["fused"] + n * 0.2 / threads / steps for n in planned)
    )
    heats = [ended for ended in ran(0.2) if ended.stage is Stage.HEAT]
    assert estimate(sweep, heats, concurrency=1).measured  # finals that nobody ran yet are taken for heats
    assert estimate(sweep, heats, concurrency=1).seconds == pytest.approx(
        START_SECONDS + sweep.seeds * sum(TRIAL_SECONDS["solo"] + n * 4.0 / steps for n in planned)
    )


def test_a_guess_for_packs_is_less_and_for_heats_that_a_search_learns_from_it_is_not() -> None:
    heats = {"lane": "fused", "seeds": 1, "search": TPE(trials=60)}
    finals = {"lane": "fused", "seeds": 60, "search": TPE(trials=1)}
    assert guessed(packed=True, **finals) - START_SECONDS < 0.65 * (guessed(**finals) - START_SECONDS)
    assert guessed(packed=True, **finals | {"timed": 60}) == pytest.approx(guessed(**finals))
    learned_from, drawn = (guessed(packed=True, **heats | {"search": search(trials=60)}) for search in (TPE, Random))
    assert drawn < learned_from


def test_a_trial_that_left_its_pack_tells_its_pace_and_another_lane_costs_what_it_costs() -> None:
    def outcome(job: Job) -> TrialRecord:
        ended = replace(record(job, [0.5] * 4), steps=40, lane="fused", cost=Cost(cpu_seconds=4.0))
        return replace(ended, history=[{**ended.history[0], "shared": 8}, *ended.history[1:]])

    sweep = small(resources=Resources(cpus=1))
    more = replace(sweep, seeds=sweep.seeds + 10)
    here, elsewhere = (
        estimate(replace(more, lane=lane), play(sweep, outcome), concurrency=1) for lane in ("auto", "gang")
    )
    assert here.measured
    assert elsewhere.seconds - here.seconds == pytest.approx(
        10 * len(sweep.levels()) * (TRIAL_SECONDS["gang"] - TRIAL_SECONDS["fused"])
    )


def test_another_look_is_told_until_it_was_taken(tmp_path: Path) -> None:
    """Also where the command that began it was interrupted, and not for seeds that an answer has counted."""

    def told(seeds: int, looks: list[int], taken: list[int]) -> str:
        (tmp_path / "sweep.json").write_text(json.dumps({"seeds": max(looks), "looks": looks}))
        found = [{"seeds": look, "alpha": 0.05, "taken": look in taken} for look in looks]
        (tmp_path / "verdict.json").write_text(json.dumps({"looks": found}))
        return look(replace(small(), seeds=seeds), tmp_path)

    words = "number 2: an answer from 6 seeds was seen, so what is told apart now must be so at 98.3 %, not at 95 %"
    assert told(9, [6], [6]) == words
    assert told(9, [6, 9], [6]) == words
    assert told(9, [6, 9], [6, 9]) == ""
    assert told(6, [6], [6]) == ""
    assert told(9, [9], []) == ""
    (tmp_path / "verdict.json").write_text("{")
    assert look(replace(small(), seeds=9), tmp_path) == ""


def test_the_plan_says_that_fewer_seeds_than_are_there_leave_none_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = []
    for asked in (4, 6):
        show(small(seeds=6), tmp_path, play(small(seeds=6), lambda job: record(job, [0.5])), None, asked=asked)
        said.append(" ".join(capsys.readouterr().out.split()))
    assert "; finals of 6 seeds count, not of 4: what was run stays; --fresh begins anew" in said[0]
    assert "seeds count" not in said[1]


def test_the_plan_says_that_packs_are_tried_where_enough_trials_are_alike() -> None:
    many = small(seeds=60, search=TPE(trials=1))
    assert lane(many, at_once=1) == TRIED
    assert lane(small(), at_once=1) == ""
    assert lane(replace(many, lane="solo"), at_once=1) == ""
    assert lane(replace(many, log_every=5), at_once=1) == ""  # each is watched, so that none can be in a pack
