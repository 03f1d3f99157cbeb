"""Planted speed-ups through the judge: what is found, how sure that is, what the answer says."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from analysis.effective_batch import Growth
from analysis.finals import gather
from analysis.judge import judge
from analysis.ledger import Question, read_ledger, read_question
from analysis.records import Scalar, Status, TrialRecord
from analysis.scaling import Scaling, ScalingPoint, scaling
from analysis.verdict import Verdict
from tests.analysis.asked import asked
from tests.planted import planted_folder, planted_records, planted_scaling, planted_scaling_question

GROWING = "PerWorker(samples=128)"
TRUE: dict[tuple[Scalar, int], float] = {(256, 1): 1.0, (256, 2): 1.62, (GROWING, 1): 0.9, (GROWING, 2): 1.575}


def question(speed_ups: Mapping[tuple[Scalar, int], float], *, seeds: int = 8, **more: object) -> Question:
    """The question of a planted sweep, as it would be read."""
    batches, workers = (list(dict.fromkeys(key[i] for key in speed_ups)) for i in (0, 1))
    read = asked({"batch_size": batches, "resources.workers": workers}, seeds=seeds)
    raw = planted_scaling_question([int(str(w)) for w in workers], seeds=seeds, batches=batches)
    return replace(read, raw={**raw, **more})


def verdict_of(speed_ups: Mapping[tuple[Scalar, int], float] = TRUE, *, seeds: int = 8, **planted: float) -> Verdict:
    """The verdict on planted finals."""
    return judge(question(speed_ups, seeds=seeds), planted_scaling(speed_ups, seeds=seeds, **planted))  # type: ignore[arg-type]


def found(records: Sequence[TrialRecord], asked_for: Question | None = None) -> Scaling:
    """The scaling of these records, which is there."""
    result = judge(asked_for or question(TRUE), records).scaling
    assert result is not None
    return result


def points(result: Scaling) -> dict[str, ScalingPoint]:
    return {point.label: point for group in result.groups for point in group.points}


def test_a_clear_case_end_to_end(tmp_path: Path) -> None:
    folder = planted_folder(tmp_path / "planted", planted_scaling(TRUE), planted_scaling_question())
    verdict = judge(read_question(folder), read_ledger(folder))
    assert verdict.answer.startswith("2 workers train 1.6")
    assert " times as many samples a second as 1 at the same batch of 256 [" in verdict.answer
    assert "% efficiency; 1.7" in verdict.answer
    assert " at 128 a worker, 8" in verdict.answer
    assert verdict.answer.endswith("no difference in test accuracy is shown, where one of 0.9 points would have been.")
    strong, weak = found(read_ledger(folder), read_question(folder)).groups
    assert (strong.kind, strong.batch, strong.label) == (Growth.STRONG, 256, "256 in all")
    assert (weak.kind, weak.batch, weak.label) == (Growth.WEAK, 128, "128 a worker")
    assert [point.batch for point in weak.points] == [128, 256]
    one, two = strong.points
    assert (one.speed_up, one.efficiency, one.speed_up_interval, one.efficiency_interval) == (1.0, 1.0, None, None)
    assert one.throughput == pytest.approx(20_000, rel=0.06)
    assert two.speed_up == pytest.approx(1.62, rel=0.02)
    assert two.speed_up is not None
    assert two.efficiency == pytest.approx(two.speed_up / 2)
    low, high = two.speed_up_interval or (None, None)
    assert low is not None
    assert high is not None
    assert list(two.efficiency_interval or ()) == pytest.approx([low / 2, high / 2])
    assert 1.55 < low < 1.62 < high < 1.70
    assert (two.peak_bytes, two.peak_bytes_in_all) == (402_000_000, 804_000_000)
    assert two.cpu_seconds == pytest.approx(1000 * 1.2 * 2 / (20_000 * 1.62), rel=0.06)
    assert two.joules is None
    told = json.loads(json.dumps(verdict.to_json(), allow_nan=False))["scaling"]
    assert told["groups"][0]["kind"] == "strong"
    assert told["groups"][0]["points"][0]["joules"] is None


def test_the_slow_first_epoch_is_left_out_where_there_are_three() -> None:
    warm = found(planted_scaling(TRUE, epochs=3, noise=0.0))
    assert warm.warm_up
    assert points(warm)["256 in all, 2 workers"].speed_up == pytest.approx(1.62)
    cold = found(planted_scaling(TRUE, epochs=2, noise=0.0))
    assert not cold.warm_up
    assert points(cold)["256 in all, 2 workers"].speed_up == pytest.approx(
        1.0, abs=0.15
    )  # half a second drowns the rest


def test_the_intervals_hold_the_truth_all_at_once_as_often_as_they_say() -> None:
    """400 sweeps of 3 speed-ups at 8 seeds: 95 % joint coverage, whose standard error is 1.1 points."""
    truth: dict[tuple[Scalar, int], float] = {
        (256, 1): 1.0,
        (256, 2): 1.7,
        (256, 4): 2.4,
        (GROWING, 1): 0.9,
        (GROWING, 4): 3.1,
    }
    true = {"256 in all, 2 workers": 1.7, "256 in all, 4 workers": 2.4, "128 a worker, 4 workers": 3.1 / 0.9}
    what, covered = question(truth), 0
    for seed in range(400):
        finals = gather(what, planted_scaling(truth, epochs=3, noise=0.05, seed=seed))
        result = scaling(what, finals, seeds=range(1, 9), alpha=0.05)
        assert result is not None
        intervals = {label: point.speed_up_interval for label, point in points(result).items() if label in true}
        assert len(intervals) == 3
        covered += all(
            ends is not None and ends[0] is not None and ends[1] is not None and ends[0] <= true[label] <= ends[1]
            for label, ends in intervals.items()
        )
    assert 0.92 <= covered / 400 <= 0.99


def test_no_gain_is_called_faster_no_more_often_than_alpha() -> None:
    truth: dict[tuple[Scalar, int], float] = {(256, 1): 1.0, (256, 2): 1.0, (256, 4): 1.0}
    what, false = question(truth), 0
    for seed in range(300):
        result = scaling(
            what,
            gather(what, planted_scaling(truth, epochs=3, noise=0.05, seed=seed)),
            seeds=range(1, 9),
            alpha=0.05,
        )
        assert result is not None
        ends = [p.speed_up_interval for p in points(result).values() if p.speed_up_interval is not None]
        false += any((low is not None and low > 1) or (high is not None and high < 1) for low, high in ends)
    assert false / 300 <= 0.08


def test_slower_and_undecided_are_said() -> None:
    answer = verdict_of({(256, 1): 1.0, (256, 2): 0.62, (GROWING, 1): 0.9, (GROWING, 2): 0.9}).answer
    assert answer.startswith("2 workers are slower than 1 at the same batch of 256: 0.6")
    assert "2 workers are not distinguishably faster or slower than 1 at 128 a worker: " in answer
    assert "efficiency" not in answer


def test_the_peak_is_named_where_more_workers_are_no_faster() -> None:
    answer = verdict_of({(256, 1): 1.0, (256, 2): 1.6, (256, 4): 2.1, (256, 8): 1.7}).answer
    assert answer.startswith("4 workers train 2.")
    assert "; 8 reach no more than 1." in answer


def test_too_few_seeds() -> None:
    verdict = verdict_of(seeds=5)
    assert re.fullmatch(
        r"Too few seeds to tell: so far 2 workers are faster than 1 at the same batch of 256 "
        r"\(1\.6\d times as many samples a second\) and at 128 a worker \(1\.7\d times\); "
        r"5 shared seeds cannot tell that from chance, which takes at least 6\.",
        verdict.answer,
    )
    assert verdict.scaling is not None
    assert points(verdict.scaling)["256 in all, 2 workers"].speed_up_interval == (None, None)


@pytest.mark.parametrize(
    ("strong", "weak", "said"),
    [
        (
            0.68,
            0.7,
            r"2 workers are slower than 1 at the same batch of 256 \(0\.6\d times .*\) and at 128 a worker \(0\.7",
        ),
        (
            0.68,
            1.4,
            r"2 workers are slower than 1 at the same batch of 256 \(0\.6\d times .*\), but faster at 128 a worker \(1",
        ),
        (
            1.0,
            1.5,
            r"2 workers are about as fast as 1 at the same batch of 256 \(1\.00 .*\), but faster at 128 a worker \(1",
        ),
    ],
)
def test_too_few_seeds_still_answer_both_questions(strong: float, weak: float, said: str) -> None:
    truth: dict[tuple[Scalar, int], float] = {(256, 1): 1.0, (256, 2): strong, (GROWING, 1): 1.0, (GROWING, 2): weak}
    answer = verdict_of(truth, seeds=3, noise=1e-5).answer
    assert re.search(said, answer), answer
    assert "; 3 shared seeds cannot tell that from chance" in answer


def test_groups_with_other_workers_are_compared_apart() -> None:
    truth: dict[tuple[Scalar, int], float] = {(256, 1): 1.0, (256, 4): 2.0, (GROWING, 1): 1.0, (GROWING, 2): 1.5}
    asked_for = question(truth, levels=[{"batch_size": b, "resources.workers": w} for b, w in truth])
    answer = judge(asked_for, planted_scaling(truth, seeds=3)).answer
    assert re.search(
        r"4 workers are faster than 1 at .*\), while 2 workers are faster than 1 at 128 a worker \(", answer
    )


def one_run(records: Sequence[TrialRecord]) -> tuple[Question, list[TrialRecord]]:
    """The question and the finals of a sweep that ran the configuration with two names once."""
    twin = {"batch_size": GROWING, "resources.workers": 2}
    asked_for = question(TRUE, equal=[{"level": twin, "run_as": {"batch_size": 256, "resources.workers": 2}}])
    levels = [level for level in asked_for.raw["levels"] if level != twin]
    kept = [record for record in records if dict(record.level) != twin]
    return replace(asked_for, raw={**asked_for.raw, "levels": levels}), kept


def test_one_run_stands_in_both_groups() -> None:
    verdict = judge(*one_run(planted_scaling(TRUE, noise=1e-4)))
    assert len(verdict.levels) == 3
    result = verdict.scaling
    assert result is not None
    strong, weak = result.groups
    assert (strong.kind, weak.kind, weak.label) == (Growth.STRONG, Growth.WEAK, "128 a worker")
    assert [point.label for point in weak.points] == ["128 a worker, 1 worker", "256 in all, 2 workers"]
    assert strong.points[1].throughput == weak.points[1].throughput
    # Each group has its own yardstick.
    assert strong.points[1].speed_up == pytest.approx(1.62, rel=1e-3)
    assert weak.points[1].speed_up == pytest.approx(1.62 / 0.9, rel=1e-3)
    assert result.twins == []
    said = r"2 workers train 1\.62 times as many .* at the same batch of 256 .*; 1\.80 times .* at 128 a worker"
    assert re.match(said, verdict.answer)


def test_the_fewest_workers_can_be_the_run_that_stands_for_both() -> None:
    truth: dict[tuple[Scalar, int], float] = {(128, 1): 1.0, (128, 2): 1.5, (GROWING, 2): 1.9}
    asked_for = question(
        truth,
        levels=[{"batch_size": b, "resources.workers": w} for b, w in truth],
        equal=[
            {
                "level": {"batch_size": GROWING, "resources.workers": 1},
                "run_as": {"batch_size": 128, "resources.workers": 1},
            }
        ],
    )
    strong, weak = found(planted_scaling(truth, noise=1e-4), asked_for).groups
    assert [point.label for point in weak.points] == ["128 in all, 1 worker", "128 a worker, 2 workers"]
    assert (strong.points[0].speed_up, weak.points[0].speed_up) == (1.0, 1.0)
    assert weak.points[1].speed_up == pytest.approx(1.9, rel=1e-3)


def test_intervals_hold_the_truth_where_groups_share_a_run() -> None:
    """300 sweeps at 8 seeds: 95 % joint coverage of two speed-ups that have one run in common."""
    truth, covered = {**TRUE, (GROWING, 2): 1.62}, 0
    for seed in range(300):
        what, records = one_run(planted_scaling(truth, epochs=3, noise=0.05, seed=seed))
        strong, weak = found(records, what).groups
        covered += all(
            ends is not None and ends[0] is not None and ends[1] is not None and ends[0] <= true <= ends[1]
            for ends, true in ((strong.points[1].speed_up_interval, 1.62), (weak.points[1].speed_up_interval, 1.8))
        )
    assert 0.91 <= covered / 300 <= 0.99


def test_one_configuration_run_twice_is_told_with_its_noise() -> None:
    records = planted_scaling({**TRUE, (GROWING, 2): 1.62}, noise=0.02)
    (twins,) = found(records).twins
    assert (twins.first, twins.second) == ("256 in all, 2 workers", "128 a worker, 2 workers")
    assert twins.ratio == pytest.approx(1.0, abs=0.03)
    assert twins.interval is not None
    assert not twins.same_scores  # planted with noise of their own
    same = [replace(record, metrics={**record.metrics, "test/accuracy": 0.97}) for record in records]
    assert found(same).twins[0].same_scores
    assert found(planted_scaling(TRUE, share={(GROWING, 1): 128, (GROWING, 2): 200})).twins == []


def test_slower_is_not_said_twice() -> None:
    answer = verdict_of({(256, 1): 1.0, (256, 2): 0.62, (GROWING, 1): 0.9, (GROWING, 2): 0.6}).answer
    assert re.match(
        r"2 workers are slower than 1 at the same batch of 256: 0\.6\d times as many samples a second \[.*\]; "
        r"slower too at 128 a worker: 0\.6\d times \[",
        answer,
    )


def test_a_score_that_suffers_is_said_with_its_interval() -> None:
    records = planted_scaling(TRUE, scores={(GROWING, 2): 0.95})
    answer = judge(question(TRUE), records).answer
    assert "test accuracy is " in answer
    assert " points lower with 2 workers at 128 a worker [" in answer
    one = judge(question(TRUE), planted_scaling(TRUE, scores={(GROWING, 1): 0.95})).answer
    assert " points higher with 2 workers at 128 a worker [" in one


def test_other_machines_forbid_speed_ups_and_a_lost_clock_only_its_own() -> None:
    records = planted_scaling(TRUE)
    moved = [replace(records[0], hardware="another CPU"), *records[1:]]
    result = found(moved)
    assert not result.like_with_like
    assert result.seeds == 0
    assert all(point.speed_up is None and point.throughput is not None for point in points(result).values())
    assert "samples a second" not in judge(question(TRUE), moved).answer
    unclocked = [
        replace(record, history=[{**row, "seconds": None} for row in record.history])
        if record.level == {"batch_size": 256, "resources.workers": 2}
        else record
        for record in records
    ]
    kept = points(found(unclocked))
    assert kept["256 in all, 2 workers"].throughput is None
    assert kept["256 in all, 1 worker"].speed_up is None
    assert kept["128 a worker, 2 workers"].speed_up == pytest.approx(1.75, rel=0.02)


def test_a_lost_final_takes_its_seed_out_and_a_diverged_one_is_still_said() -> None:
    records = planted_scaling(TRUE, seeds=9)
    lost = [
        replace(records[5], status=Status.FAILED, metrics={}, history=()) if i == 5 else r
        for i, r in enumerate(records)
    ]
    assert found(lost, question(TRUE, seeds=9)).seeds == 8
    diverged = [replace(r, status=Status.DIVERGED, metrics={}) if i == 7 else r for i, r in enumerate(records)]
    answer = judge(question(TRUE, seeds=9), diverged).answer
    assert answer.startswith("2 workers train 1.6")
    assert "(128 a worker, 2 workers) diverged in 1 of 9 finals" in answer


def test_what_is_known_of_energy_is_there_and_what_is_not_is_none() -> None:
    known = points(found(planted_scaling(TRUE, joules=1078 * 6 * 0.25)))
    assert known["256 in all, 1 worker"].joules == pytest.approx(0.25)
    some = planted_scaling(TRUE, joules=100.0)
    part = [replace(some[0], cost=replace(some[0].cost, joules=None)), *some[1:]]
    assert points(found(part))["256 in all, 1 worker"].joules is None


def test_more_threads_than_cores_are_told() -> None:
    truth: dict[tuple[Scalar, int], float] = {(256, 1): 1.0, (256, 2): 1.6, (256, 4): 1.7}
    records = planted_scaling(truth)
    assert found(records, question(truth)).oversubscribed == [4]
    assert found(records, question(truth, threads=2)).oversubscribed == [2, 4]
    assert found(records, question(truth, hardware={"cores": 2, "gpus": ["A100"]})).oversubscribed == []
    assert found(records, question(truth, hardware="a box")).oversubscribed == []


def test_workers_alone_need_no_words_for_the_batch() -> None:
    records = [
        replace(record, level={"resources.workers": record.level["resources.workers"]}, point={})
        for record in planted_scaling({(256, 1): 1.0, (256, 2): 1.62})
    ]
    only = replace(asked({"resources.workers": [1, 2]}, seeds=8), raw={"recipe": {"batch_size": 256}})
    answer = judge(only, records).answer
    assert answer.startswith("2 workers train 1.6")
    assert " as 1 at the same batch of 256 [" in answer
    unsaid = judge(replace(only, raw={}), records).answer
    assert " as 1 at the same batch [" in unsaid


@pytest.mark.parametrize("records", [[], planted_scaling({(256, 1): 1.0})])
def test_nothing_to_compare_leaves_the_answer_to_the_scores(records: list[TrialRecord]) -> None:
    verdict = judge(question(TRUE), records)
    assert verdict.scaling is not None
    assert verdict.scaling.seeds == 0
    assert "samples a second" not in verdict.answer


def test_a_sweep_that_does_not_compare_workers_has_none() -> None:
    assert judge(asked([16, 32], seeds=8), planted_records({16: [0.9] * 8, 32: [0.8] * 8})).scaling is None
