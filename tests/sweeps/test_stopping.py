"""Every rule for early stopping against the same demands, and each against its reference."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ray.tune.schedulers import AsyncHyperBandScheduler, MedianStoppingRule, TrialScheduler

from analysis.ledger import read_ledger
from analysis.records import Stage, Status
from sweeps import ASHA, EarlyStop, Hyperband, MedianStop, QuestionError, Random
from sweeps.engine.stopping import Levels
from sweeps.engine.stopping.hyperband import Brackets
from tests.sweeps.small import small
from tests.sweeps.test_engine import Diary, run

EPOCHS = 18
RULES: list[EarlyStop] = [
    ASHA(grace=2, factor=3),
    Hyperband(grace=2, factor=3, brackets=2),
    Hyperband(grace=1, factor=2, brackets=4),
    MedianStop(grace=2),
    MedianStop(grace=1, least=1),
]
every = pytest.mark.parametrize("rule", RULES, ids=str)

Stream = list[tuple[str, int, float]]
"""(trial, epoch, value) in the order in which values come in; the epochs of each trial rise by one."""


def curves(count: int, seed: int) -> dict[str, list[float]]:
    """Noisy rising curves of ``count`` trials."""
    drawn = np.random.default_rng(seed)
    tops = drawn.uniform(0.3, 1.0, count)
    rise = 1 - np.exp(-np.arange(1, EPOCHS + 1) / drawn.uniform(1, 6, (count, 1)))
    noise = drawn.normal(0, 0.03, (count, EPOCHS))
    return {f"t{number}": [float(v) for v in row] for number, row in enumerate(tops[:, None] * rise + noise)}


def raced(levels: Levels, values: Mapping[str, Sequence[float]], at_once: int = 4) -> dict[str, int]:
    """The epoch at which each trial ended, so many side by side in turn."""
    waiting, live, ended = list(values), dict[str, int](), dict[str, int]()
    while waiting or live:
        while waiting and len(live) < at_once:
            live[waiting.pop(0)] = 0
        for name in list(live):
            live[name] += 1
            stopped = levels.stops("level", name, live[name], values[name][live[name] - 1])
            if stopped or live[name] == EPOCHS:
                ended[name] = live.pop(name)
    return ended


# --- what all of them must do ---


@every
@pytest.mark.parametrize("sign", [1, -1])
def test_the_worse_are_stopped_and_the_best_is_not_after_the_grace_and_either_way_round(
    rule: EarlyStop, sign: int
) -> None:
    assert list(rule.conflicts(EPOCHS)) == []
    values = {name: [sign * value for value in row] for name, row in curves(40, 0).items()}
    ended = raced(Levels(rule, EPOCHS, "max" if sign > 0 else "min"), values)
    through = [max(sign * v for v in values[name]) for name, epoch in ended.items() if epoch == EPOCHS]
    stopped = [max(sign * v for v in values[name]) for name, epoch in ended.items() if epoch < EPOCHS]
    assert len(stopped) >= 8
    assert min(ended.values()) >= rule.grace
    assert float(np.mean(through)) > float(np.mean(stopped)) + 0.1
    best = max(values, key=lambda name: max(sign * v for v in values[name]))
    assert ended[best] == EPOCHS


@every
def test_levels_are_kept_apart_and_values_that_are_no_numbers_say_nothing(rule: EarlyStop) -> None:
    alone, beside = Levels(rule, EPOCHS, "max"), Levels(rule, EPOCHS, "max")
    for name, row in curves(20, 1).items():
        for epoch, value in enumerate(row, 1):
            assert not beside.stops("other", f"o{name}", epoch, math.nan)
            beside.stops("other", f"o{name}", epoch, value + 10)
            assert alone.stops("one", name, epoch, value) == beside.stops("one", name, epoch, value)


@every
def test_nothing_is_stopped_at_its_last_epoch(rule: EarlyStop) -> None:
    levels = Levels(rule, EPOCHS, "max")
    for number in range(20):
        assert not levels.stops("level", f"t{number}", EPOCHS, -float(number))


@every
@pytest.mark.parametrize("before", [5, 20])
def test_what_is_rebuilt_from_histories_decides_as_before(rule: EarlyStop, before: int) -> None:
    """One trial after the other, so that what is known at each decision is the same."""
    values = curves(40, 2)
    undisturbed = raced(Levels(rule, EPOCHS, "max"), values, at_once=1)
    names = list(values)
    resumed = Levels(rule, EPOCHS, "max")
    for name in names[:before]:
        rows = [{"epoch": e, "val/x": v} for e, v in enumerate(values[name][: undisturbed[name]], 1)]
        cut = resumed.feed("level", name, rows, "val/x")
        assert cut == (undisturbed[name] if undisturbed[name] < EPOCHS else None)
    later = raced(resumed, {name: values[name] for name in names[before:]}, at_once=1)
    assert later == {name: undisturbed[name] for name in names[before:]}


@every
def test_a_sweep_that_was_interrupted_ends_whole(rule: EarlyStop, tmp_path: Path) -> None:
    sweep = small(early_stop=rule, search=Random(trials=8), seeds=1)
    if list(rule.conflicts(9)):
        pytest.skip("longer than this sweep")
    with pytest.raises(KeyboardInterrupt):
        run(sweep, tmp_path, Diary(30))
    records = run(sweep, tmp_path)
    assert Counter(record.stage for record in records) == {Stage.HEAT: 16, Stage.FINAL: 2}
    stopped = [record for record in records if record.status is Status.STOPPED]
    assert stopped
    assert all(record.reason == f"below the cut at epoch {record.epochs}" for record in stopped)
    assert records == read_ledger(tmp_path)


# --- references ---


@dataclass(frozen=True)
class Named:
    """All that Tune's schedulers look at."""

    trial_id: str
    status: str = "RUNNING"


class Alone:
    """A controller without waiting trials, so that Tune pauses none."""

    def get_live_trials(self) -> list[Named]:
        return []


@st.composite
def streams(draw: st.DrawFn) -> Stream:
    """Values of up to eight trials, mixed in any order."""
    lengths = draw(st.lists(st.integers(1, 9), min_size=1, max_size=8))
    order = draw(st.permutations([name for name, length in enumerate(lengths) for _ in range(length)]))
    seen: Counter[int] = Counter()
    stream = []
    for name in order:
        seen[name] += 1
        stream.append((f"t{name}", seen[name], draw(st.integers(-20, 20)) / 8))
    return stream


def by_tune(scheduler: Any, stream: Stream, added: bool) -> Iterator[bool]:
    """What Tune's scheduler says to each value, up to each trial's end."""
    gone: set[str] = set()
    known: set[str] = set()
    for name, epoch, value in stream:
        trial = Named(name)
        if name not in known and added:
            scheduler.on_trial_add(None, trial)
        known.add(name)
        if name not in gone:
            decision = scheduler.on_trial_result(Alone(), trial, {"epoch": epoch, "value": value})
            if decision == TrialScheduler.STOP:
                gone.add(name)
            yield decision == TrialScheduler.STOP


def by_ours(rule: EarlyStop, mode: str, stream: Stream) -> Iterator[bool]:
    stopper = rule.build(9, mode)
    gone: set[str] = set()
    for name, epoch, value in stream:
        if name not in gone:
            stop = stopper.stops(name, epoch, value)
            if stop:
                gone.add(name)
            yield stop


@settings(max_examples=150, deadline=None)
@given(streams(), st.integers(1, 4), st.integers(1, 4), st.sampled_from(["max", "min"]))
def test_the_median_rule_is_tune_s_own(stream: Stream, grace: int, least: int, mode: str) -> None:
    theirs = MedianStoppingRule(
        time_attr="epoch", metric="value", mode=mode, grace_period=grace, min_samples_required=least, hard_stop=True
    )
    rule = MedianStop(grace=grace, least=least)
    assert list(by_ours(rule, mode, stream)) == list(by_tune(theirs, stream, added=False))


@settings(max_examples=80, deadline=None)
@given(streams(), st.integers(1, 3), st.integers(2, 3), st.sampled_from(["max", "min"]))
def test_asha_is_tune_s_own(stream: Stream, grace: int, factor: int, mode: str) -> None:
    theirs = AsyncHyperBandScheduler(
        time_attr="epoch", metric="value", mode=mode, max_t=9, grace_period=grace, reduction_factor=factor,
        stop_last_trials=False,
    )  # fmt: skip
    assert list(by_ours(ASHA(grace=grace, factor=factor), mode, stream)) == list(by_tune(theirs, stream, added=True))


@settings(max_examples=80, deadline=None)
@given(streams(), st.integers(2, 3))
def test_a_bracket_of_hyperband_is_tune_s_bracket(stream: Stream, factor: int) -> None:
    """Tune draws a trial's bracket from numpy's global generator; here each trial is put into the one that is ours."""
    rule = Hyperband(grace=1, factor=factor, brackets=3)
    theirs = AsyncHyperBandScheduler(
        time_attr="epoch", metric="value", mode="max", max_t=9, grace_period=1, reduction_factor=factor, brackets=3,
        stop_last_trials=False,
    )  # fmt: skip
    stopper = rule.build(9, "max")
    assert isinstance(stopper, Brackets)
    for name in {name for name, _, _ in stream}:
        theirs._trial_info[name] = theirs._brackets[stopper.bracket(name)]
    assert list(by_ours(rule, "max", stream)) == list(by_tune(theirs, stream, added=False))


def test_hyperband_s_brackets_get_their_shares_of_the_trials_and_cost_about_the_same() -> None:
    rule = Hyperband(grace=2, factor=3, brackets=3)
    shares = rule.shares(54)
    assert shares == pytest.approx([w / sum((81 / 5, 27 / 4, 9 / 3)) for w in (81 / 5, 27 / 4, 9 / 3)])
    stopper = rule.build(54, "max")
    assert isinstance(stopper, Brackets)
    placed = Counter(stopper.bracket(f"{number:012x}") for number in range(4000))
    for place, share in enumerate(shares):
        assert placed[place] / 4000 == pytest.approx(share, abs=0.03)
    # A trial of a bracket with its first rung at r costs about r epochs a rung.
    costs = [share * 2 * 3**place * count for place, (share, count) in enumerate(zip(shares, (4, 3, 2), strict=True))]
    assert max(costs) / min(costs) < 1.5


def test_a_short_recipe_has_the_brackets_that_it_has_room_for() -> None:
    rule = Hyperband(grace=2, factor=3, brackets=3)
    assert [rule.graces(epochs) for epochs in (5, 6, 18, 99)] == [[2], [2, 6], [2, 6, 18], [2, 6, 18]]
    assert list(rule.conflicts(5)) == []
    assert rule.shares(5) == [1.0]
    levels = Levels(rule, 5, "max")
    assert [levels.stops("level", f"t{number}", 2, -float(number)) for number in range(3)] == [False, True, True]


def test_a_trial_that_rises_late_survives_in_a_later_bracket_alone() -> None:
    rule = Hyperband(grace=1, factor=3, brackets=2)
    stopper = rule.build(9, "max")
    assert isinstance(stopper, Brackets)
    names = [f"t{number}" for number in range(60)]
    for name in names:
        stopper.stops(name, 1, 0.9)
    late = [f"late{number}" for number in range(20)]
    assert {name: stopper.stops(name, 1, 0.1) for name in late} == {name: stopper.bracket(name) == 0 for name in late}
    assert len({stopper.bracket(name) for name in late}) == 2


def test_the_median_rule_as_defined() -> None:
    """Averages 1, 2 and 3 at epoch 2: the median is 2, and a best value of 2 is not worse than it."""
    stopper = MedianStop(grace=1, least=3).build(9, "max")
    for name, first, second in (("a", 0.0, 2.0), ("b", 1.0, 3.0), ("c", 3.0, 3.0)):
        stopper.stops(name, 1, first)
        stopper.stops(name, 2, second)
    assert not stopper.stops("equal", 2, 2.0)
    assert stopper.stops("below", 2, 1.9)


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        (ASHA(grace=0), "ASHA grace 0 must lie between 1 and the recipe's 9 epochs"),
        (ASHA(factor=1), "ASHA factor 1 must be at least 2"),
        (MedianStop(grace=10), "MedianStop grace 10 must lie between 1 and the recipe's 9 epochs"),
        (MedianStop(least=0), "MedianStop least 0 must be at least 1"),
        (Hyperband(factor=1), "Hyperband factor 1 must be at least 2"),
        (Hyperband(brackets=0), "Hyperband brackets 0 must be at least 1"),
        (Hyperband(grace=10), "Hyperband grace 10 must lie between 1 and the recipe's 9 epochs"),
    ],
)
def test_what_cannot_stop_anything_is_said(rule: EarlyStop, said: str) -> None:
    with pytest.raises(QuestionError) as caught:
        small(early_stop=rule).check()
    assert said in str(caught.value)
