"""Population-based training: who goes on from whom, and that nothing depends on chance, order or interruption."""

from __future__ import annotations

import math
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path
from random import Random
from statistics import mean
from typing import Any

import pytest

from analysis.ledger import read_ledger
from analysis.records import Stage, Status, TrialRecord
from sweeps import (
    ASHA,
    PBT,
    TPE,
    Also,
    QuestionError,
    Rivals,
    Search,
    Sweep,
    choice,
    each,
    int_range,
    log_uniform,
    uniform,
)
from sweeps.engine.drive import cut_short, finished
from sweeps.engine.job import Job
from sweeps.engine.programme import Programme
from sweeps.engine.question import extended
from sweeps.engine.search.domain import Domain
from tests.sweeps.played import bowl, heats, play
from tests.sweeps.test_engine import Diary, essence, run
from trainables import EMA, SGD, AdamW, ClipNorm, Cosine, CrossEntropy, EarlyStopping, Focal, Minimise, RMSprop
from trainables.losses import Loss
from trainables.models import MLP
from trainables.optimizers import Optimizer

BRED_OR_NOT: tuple[Search | PBT, ...] = (TPE(), PBT(segments=3))
CENTERED: Optimizer = RMSprop(lr=uniform(0.1, 1), centered=choice(True, False))
LOSSES: tuple[Loss, ...] = (CrossEntropy(), Focal())
KINDS: tuple[Optimizer, ...] = (SGD(lr=uniform(0.1, 1)), AdamW())

EPOCHS = 9
"""Of the bowl's recipe."""


def segment(job: Job, values: list[float], status: Status | None = None) -> TrialRecord:
    """A segment that ended with these values, or a final."""
    ends = Status.STOPPED if job.until not in (None, EPOCHS) else Status.COMPLETED
    finite = [value for value in values if math.isfinite(value)]
    before = (job.until or EPOCHS) - len(values)
    return TrialRecord(
        id=job.id,
        sweep="played",
        task="clusters",
        stage=job.stage,
        level=job.level,
        point=job.point,
        seed=job.seed,
        status=status or ends,
        metrics={"val/accuracy": max(finite)} if finite else {},
        history=[{"epoch": before + number, "val/accuracy": value} for number, value in enumerate(values, 1)],
        number=job.number,
        earlier=job.earlier,
        until=job.until,
        parent=job.parent,
    )


def near(job: Job) -> TrialRecord:
    """The nearer to a rate of a tenth, the better; what was learned before counts as much as what is learned now."""
    turns = [*(turn["point"] for turn in job.earlier), job.point]
    return segment(job, [mean(-abs(math.log10(float(point["optimizer.lr"])) + 1) for point in turns)])  # type: ignore[arg-type]


def bred(**changes: Any) -> Sweep:
    return bowl(**{"search": PBT(trials=8, segments=3), **changes})


def generations(records: list[TrialRecord]) -> list[list[TrialRecord]]:
    found: dict[int, list[TrialRecord]] = {}
    for one in heats(records):
        found.setdefault(len(one.earlier), []).append(one)
    return [found[number] for number in sorted(found)]


def test_every_member_trains_every_segment_and_the_best_course_goes_to_the_finals() -> None:
    sweep = bred(seeds=2)
    sweep.check()
    assert sweep.trials == 24
    records = play(sweep, near)
    first, second, third = generations(records)
    assert [len(generation) for generation in (first, second, third)] == [8, 8, 8]
    assert {one.until for one in first} == {3}
    assert {one.until for one in third} == {9}
    assert {one.parent for one in first} == {None}
    assert {one.parent for one in second} <= {one.id for one in first}
    best = max(third, key=lambda one: one.metrics["val/accuracy"])
    finals = [one for one in records if one.stage is Stage.FINAL]
    assert len(finals) == 2
    for final in finals:
        assert final.point == best.point
        assert (final.parent, final.until) == (None, None)
        assert [turn["until"] for turn in final.earlier] == sorted({turn["until"] for turn in final.earlier})


def test_the_worst_go_on_from_the_best_and_the_others_from_themselves() -> None:
    first, second, _ = generations(play(bred(), near))
    ranked = sorted(first, key=lambda one: -one.metrics["val/accuracy"])
    best, worst = {one.id for one in ranked[:2]}, {one.id for one in ranked[-2:]}
    parents = Counter(one.parent for one in second)
    assert not worst & parents.keys()
    assert set(parents) == {one.id for one in first} - worst
    assert sum(parents[name] for name in best) == 4
    points = {one.id: one.point for one in first}
    changed = [one for one in second if one.point != points[str(one.parent)]]
    assert 1 <= len(changed) <= 2
    assert {one.parent for one in changed} <= best


def test_it_finds_better_settings_than_it_began_with() -> None:
    sweep = bred(search=PBT(trials=16, segments=9))
    ends = [mean(one.history[-1]["val/accuracy"] for one in group) for group in generations(play(sweep, near))]
    assert ends[-1] > ends[0] + 0.5


@pytest.mark.parametrize("at_once", [2, 3, 8])
def test_it_asks_the_same_however_many_run_side_by_side(at_once: int) -> None:
    alone = play(bred(), near)
    assert {one.id for one in play(bred(), near, at_once=at_once)} == {one.id for one in alone}


@pytest.mark.parametrize("most", [1, 7, 8, 13, 24, 25])
def test_it_goes_on_where_it_was_interrupted(most: int) -> None:
    undisturbed = play(bred(seeds=2), near)
    known = play(bred(seeds=2), near, most=most)
    again = play(bred(seeds=2), near, known=known)
    assert {one.id for one in again} == {one.id for one in undisturbed}
    assert len(again) == len(undisturbed)


def test_nobody_goes_on_from_a_member_that_diverged() -> None:
    def half(job: Job) -> TrialRecord:
        diverges = float(job.point["optimizer.momentum"]) > 0.4  # type: ignore[arg-type]
        return segment(job, [math.nan], Status.DIVERGED) if diverges else near(job)

    records = play(bred(), half)
    gone = {one.id for one in records if one.status is Status.DIVERGED}
    assert len(gone) > 3  # more than the worst quarter
    assert not gone & {one.parent for one in records}


def test_a_population_that_diverges_as_a_whole_sends_nobody() -> None:
    records = play(bred(), lambda job: segment(job, [math.nan], Status.DIVERGED))
    assert len(records) == 8
    assert {one.stage for one in records} == {Stage.HEAT}


def test_one_that_was_lost_is_tried_once_more_by_the_next_command() -> None:
    tries: Counter[str] = Counter()

    def flaky(job: Job) -> TrialRecord:
        tries[job.id] += 1
        fails = job.number == 3 and tries[job.id] == 1
        return segment(job, [], Status.FAILED) if fails else near(job)

    records = play(bred(), flaky)
    lost = [one for one in records if one.status is Status.FAILED]
    assert len(lost) == 1
    again = play(bred(), flaky, known=[one for one in records if one.status.settled] + lost)
    assert tries[lost[0].id] == 2
    assert {one.id for one in again if one.status.settled} >= {one.id for one in play(bred(), near)}


def test_levels_breed_apart_and_rivals_cost_the_same() -> None:
    base = bred(search=Rivals(trials=6, method=each(*BRED_OR_NOT)))
    base.check()
    records = play(base, near)
    counts = Counter(one.level["search.method"] for one in heats(records))
    assert counts == {"TPE": 6, "PBT(segments=3)": 18}
    assert all(one.parent is None for one in records if one.level["search.method"] == "TPE")


def test_numbers_are_explored_within_their_ranges_and_options_drawn_anew() -> None:
    recipe = replace(
        bowl().recipe,
        optimizer=SGD(lr=log_uniform(1e-3, 1.0), momentum=uniform(0.0, 0.9), nesterov=choice(True, False)),
        clip=choice(None, ClipNorm(uniform(0.5, 2.0))),
    )
    domain, search, rng = Domain.of(recipe, {}), PBT(resample=0.0), Random(1)
    point = search.begun(domain, rng)
    for _ in range(200):
        near = search.explored(domain, point, rng)
        rate, before = float(near["optimizer.lr"]), float(point["optimizer.lr"])  # type: ignore[arg-type]
        assert rate == pytest.approx(min(max(before * 0.8, 1e-3), 1.0)) or rate == pytest.approx(
            min(before * 1.25, 1.0)
        )
        assert 0.0 <= float(near["optimizer.momentum"]) <= 0.9  # type: ignore[arg-type]
        assert (near["optimizer.nesterov"], near["clip"]) == (point["optimizer.nesterov"], point["clip"])
        assert near.keys() == point.keys()
        point = near
    drawn = [PBT(resample=1.0).explored(domain, point, rng) for _ in range(40)]
    assert len({one["clip"] for one in drawn}) == 2
    assert {len(one) == 4 for one in drawn} == {True, False}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"search": PBT(trials=1)}, "PBT trials 1 has nobody to learn from"),
        ({"search": PBT(segments=1)}, "PBT segments 1 must be at least 2"),
        ({"search": PBT(quantile=0.6)}, "PBT quantile 0.6 must be above 0 and at most 0.5"),
        ({"search": PBT(resample=1.5)}, "PBT resample 1.5 must lie between 0 and 1"),
        ({"early_stop": ASHA(grace=2)}, "early_stop is set, but PBT lets its worst members go on from its best"),
        ({"also": Also(goal=Minimise("loss"))}, "PBT breeds for one goal"),
        ({"recipe": replace(bowl().recipe, stop=EarlyStopping(patience=2))}, "PBT trains every member to its end"),
        ({"recipe": replace(bowl().recipe, model=MLP(widths=(int_range(4, 8),)))}, "which model.widths.0 does not allow"),
        ({"recipe": replace(bowl().recipe, batch_size=choice(8, 16))}, "which batch_size does not allow"),
        ({"recipe": replace(bowl().recipe, average=EMA(decay=uniform(0.5, 0.9)))}, "which average.decay does not allow"),
        (
            {"recipe": replace(bowl().recipe, optimizer=choice(*KINDS))},
            "one kind of optimizer cannot take over another's state",
        ),
        (
            {"recipe": replace(bowl().recipe, optimizer=CENTERED)},
            "what RMSprop keeps depends on optimizer.centered",
        ),
        (
            {"recipe": replace(bowl().recipe, loss=choice(*LOSSES))},
            "losses may differ in how many outputs they ask of the model",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_bred_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(QuestionError, match="cannot be run") as caught:
        bred(**changes).check()
    assert said in str(caught.value)


def test_a_folder_may_be_searched_in_another_way_afterwards() -> None:
    """The segments of a population are no heats of the search that follows, nor those members of a population."""
    bred_before = play(bred(seeds=1), near)
    then = bowl(search=TPE(trials=6))
    assert extended(then, {}, bred_before) == then
    records = play(then, near, known=bred_before)
    assert len([one for one in heats(records) if one.until is None]) == 6
    final = [one for one in records if one.stage is Stage.FINAL][-1]
    assert final.point in [one.point for one in heats(records) if one.until is None]
    searched = play(bowl(search=TPE(trials=16)), near)
    assert extended(bred(), {}, searched) == bred()
    fewer = bred(search=PBT(trials=8, segments=2))
    assert extended(fewer, {}, bred_before) == fewer


@pytest.mark.parametrize("most", range(4, 10))
def test_ties_fall_as_they_would_have_fallen(most: int) -> None:
    """All members are equally good: the one dealt first goes to the finals, also when it was dealt by an earlier command."""

    def course(records: list[TrialRecord]) -> set[str]:
        return {one.id for one in records if one.stage is Stage.FINAL}

    def even(job: Job) -> TrialRecord:
        return segment(job, [0.5])

    known, live = list[TrialRecord](), list[Job]()
    programme = Programme(bred(), [], spent=lambda: 0.0, concurrency=2)
    while len(known) < most:
        while len(live) < 2 and (job := programme.next()) is not None:
            live.append(job)
        # The first one takes as long as all others of its generation.
        known.append(even(live.pop()))
        programme.ended(known[-1])
    under_way = [replace(even(job), status=Status.RUNNING, history=(), metrics={}) for job in live]
    assert course(play(bred(), even, known=[*known, *under_way])) == course(play(bred(), even))


def test_the_levels_are_dealt_as_many_epochs_when_a_budget_cuts_them_off() -> None:
    base = bred(search=Rivals(trials=10, method=each(*BRED_OR_NOT)))
    cut = heats(play(base, near, most=20))
    epochs = Counter[str]()
    for one in cut:
        epochs[str(one.level["search.method"])] += 3 if one.until is not None else 9
    assert abs(epochs["TPE"] - epochs["PBT(segments=3)"]) <= 9


def test_what_nothing_goes_on_from_is_released() -> None:
    sweep = bred(search=PBT(trials=4, segments=2))
    programme = Programme(sweep, [], spent=lambda: 0.0, concurrency=1)
    released: list[str] = []
    ended: list[TrialRecord] = []
    while (job := programme.next()) is not None:
        assert job.parent not in released
        ended.append(near(job))
        programme.ended(ended[-1])
        released += programme.released()
    assert set(released) == {one.id for one in heats(ended)}


def test_a_population_that_diverges_leaves_no_checkpoint() -> None:
    programme = Programme(bred(), [], spent=lambda: 0.0, concurrency=1)
    released: list[str] = []
    while (job := programme.next()) is not None:
        programme.ended(segment(job, [math.nan], Status.DIVERGED))
        released += programme.released()
    assert len(released) == 8


def test_the_budget_is_said_to_have_cut_what_it_cut_alone() -> None:
    """Neither members that became one job, nor a population that diverged as a whole, were cut off."""
    sweep = bred(budget_seconds=1e6)
    assert not cut_short(sweep, play(sweep, near))
    assert not cut_short(sweep, play(sweep, lambda job: segment(job, [math.nan], Status.DIVERGED)))
    assert cut_short(sweep, play(sweep, near, most=10))
    assert not cut_short(bred(), play(sweep, near, most=10))


def test_half_of_an_odd_population_never_goes_on_from_itself() -> None:
    assert [PBT(trials=trials, quantile=0.5).taken_over for trials in (2, 3, 7, 8)] == [1, 1, 3, 4]


def test_what_cannot_be_trained_is_not_explored() -> None:
    recipe = replace(bowl().recipe, optimizer=SGD(momentum=uniform(0.0, 0.9), nesterov=choice(False, True)))
    domain, search, rng = Domain.of(recipe, {}), PBT(resample=0.0), Random(2)
    point = {"optimizer.momentum": 0.05, "optimizer.nesterov": True}
    for _ in range(50):
        assert search.explored(domain, point, rng)["optimizer.momentum"] > 0  # type: ignore[operator]


# --- trained for real ---


def real(**changes: Any) -> Sweep:
    recipe = replace(bowl().recipe, schedule=Cosine(warmup=uniform(0.0, 0.5)), epochs=6)
    return bred(**{"recipe": recipe, "search": PBT(trials=4, segments=3), "seeds": 2, **changes})


def test_segments_are_records_and_a_final_trains_their_course_again(tmp_path: Path) -> None:
    records = run(real(), tmp_path)
    bred = heats(records)
    assert len(bred) == 12
    for one in bred:
        assert [row["epoch"] for row in one.history] == list(range((one.until or 0) - 1, (one.until or 0) + 1))
        assert one.epochs == 2
        assert one.steps == one.history[-1]["step"] == 8
        assert one.samples == 2 * 61
        assert one.status is (Status.COMPLETED if one.until == 6 else Status.STOPPED)
        assert one.cost.seconds is not None
        assert one.cost.seconds > 0
    finals = [one for one in records if one.stage is Stage.FINAL]
    assert len(finals) == 2
    assert all(len(one.history) == 6 and one.status is Status.COMPLETED for one in finals)
    assert {path.name for path in (tmp_path / "checkpoints").iterdir()} == {one.id for one in finals}
    assert finished(real(), read_ledger(tmp_path))
    assert run(real(), tmp_path) == records


@pytest.mark.parametrize("after", [1, 4, 9, 14, 20, 30])
def test_an_interrupted_population_ends_as_the_undisturbed_one(tmp_path: Path, after: int) -> None:
    undisturbed = run(real(), tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(real(), tmp_path / "cut", Diary(after))
    again = run(real(), tmp_path / "cut")
    assert sorted(map(essence, again), key=repr) == sorted(map(essence, undisturbed), key=repr)


def test_a_lost_checkpoint_costs_time_alone(tmp_path: Path) -> None:
    undisturbed = run(real(), tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(real(), tmp_path / "cut", Diary(13))
    shutil.rmtree(tmp_path / "cut" / "checkpoints")
    again = run(real(), tmp_path / "cut")
    assert sorted(map(essence, again), key=repr) == sorted(map(essence, undisturbed), key=repr)


def test_a_segment_that_a_closed_budget_left_behind_is_trained_when_there_is_more(tmp_path: Path) -> None:
    undisturbed = run(real(), tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(real(), tmp_path / "cut", Diary(9))
    run(real(budget_seconds=1e-3), tmp_path / "cut")
    again = run(real(), tmp_path / "cut")
    finals = [one for one in again if one.stage is Stage.FINAL]
    expected = sorted(essence(one) for one in undisturbed if one.stage is Stage.HEAT)
    assert [essence(one) for one in sorted(heats(again), key=lambda one: one.id) if one.status.settled] == expected
    assert {essence(one)[0] for one in undisturbed} <= {one.id for one in [*heats(again), *finals]}


def test_a_larger_population_keeps_what_was_measured(tmp_path: Path) -> None:
    few = run(real(seeds=1), tmp_path)
    many = run(real(seeds=1, search=PBT(trials=6, segments=3)), tmp_path)
    first = {one.id for one in heats(few) if one.parent is None}
    assert first < {one.id for one in heats(many) if one.parent is None}
    assert {one.id for one in few} <= {one.id for one in many}
    assert len(heats(many)) <= 12 + 18
