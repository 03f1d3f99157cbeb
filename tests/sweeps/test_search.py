"""Every search against the same demands, and each against what is its own."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from itertools import pairwise
from statistics import median
from typing import Any

import numpy as np
import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.records import Stage, Status, TrialRecord
from sweeps import (
    CMAES,
    GP,
    TPE,
    Grid,
    QuestionError,
    Random,
    Resources,
    Rivals,
    Search,
    Sobol,
    Sweep,
    choice,
    each,
    int_range,
    log_uniform,
    uniform,
)
from sweeps.engine import question, space
from sweeps.engine.job import Job
from sweeps.engine.search.domain import Domain, suggested
from sweeps.engine.search.unit import from_unit, to_unit
from sweeps.engine.study import LevelStudy
from tests.sweeps.played import bowl, heats, height, play, quadratic, record
from tests.sweeps.small import small
from trainables import EMA, SGD, AdamW, Recipe
from trainables.describe import Scalar
from trainables.models import MLP
from trainables.optimizers import Optimizer

SEARCHES: list[Search] = [
    Random(trials=9),
    Grid(points=3, trials=9),
    Sobol(trials=9),
    TPE(trials=9, startup=4),
    CMAES(trials=9, startup=3),
    GP(trials=9, startup=4),
]
CONDITIONAL: list[Search] = [Random(trials=9), Grid(points=2), Sobol(trials=9), TPE(trials=9, startup=4)]

TPE_OR_CMAES: tuple[Search, ...] = (TPE(), CMAES())

every = pytest.mark.parametrize("search", SEARCHES, ids=lambda search: type(search).__name__)
every_conditional = pytest.mark.parametrize("search", CONDITIONAL, ids=lambda search: type(search).__name__)

ALL_KINDS = Recipe(
    model=MLP(widths=(int_range(3, 5), int_range(16, 24, log=True))),
    batch_size=choice(8, 32),
    optimizer=AdamW(lr=log_uniform(1e-4, 1e-1), weight_decay=uniform(0.0, 0.5)),
    epochs=2,
)
EITHER: tuple[Optimizer, ...] = (SGD(lr=uniform(0.1, 1.0)), AdamW(lr=log_uniform(1e-4, 1e-2)))
BRANCHED = Recipe(
    model=MLP(widths=(8,)),
    batch_size=16,
    optimizer=choice(*EITHER),
    average=choice(None, EMA(decay=uniform(0.9, 0.99))),
    epochs=2,
)


def inside(recipe: Recipe, point: Mapping[str, Scalar]) -> None:
    """Every hole that the point fills holds one of its own values; the point fills no more."""
    filled = set()

    def filler(path: str, hole: space.Hole) -> Scalar:
        value = point[path]
        filled.add(path)
        match hole:
            case space.Choice(options):
                assert value in [space.name(option) for option in options]
            case space.Uniform(low, high, _):
                assert isinstance(value, float)
                assert low <= value <= high
            case space.IntRange(low, high, _):
                assert isinstance(value, int)
                assert low <= value <= high
            case space.Each():
                raise AssertionError("no levels here")
        return value

    space.resolve(recipe, filler)
    assert filled == point.keys()


def asked(search: Search, seed: int, count: int = 9, recipe: Recipe = ALL_KINDS) -> list[dict[str, Scalar]]:
    """Points that the search asks for in a row, each told a value of its own before the next."""
    domain = Domain.of(recipe, {})
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize", sampler=search.build(domain, seed))
    points = []
    for _ in range(count):
        trial = study.ask()
        points.append(domain.point(partial(suggested, trial)))
        study.tell(trial, -sum((hash_free(value) - 0.3) ** 2 for value in points[-1].values()))
    return points


def hash_free(value: Scalar) -> float:
    """A number for any value, the same in every process."""
    return float(value) % 1 if isinstance(value, int | float) else len(str(value)) / 10


# --- what all of them must do ---


@every
def test_draws_lie_inside_holes_of_every_kind(search: Search) -> None:
    points = asked(search, 0)
    for point in points:
        inside(ALL_KINDS, point)
    assert len({tuple(point.values()) for point in points}) >= 8


@every_conditional
def test_draws_fill_the_holes_of_the_options_taken_and_no_others(search: Search) -> None:
    points = asked(search, 1, recipe=BRANCHED)
    for point in points:
        inside(BRANCHED, point)
    assert {point["optimizer"] for point in points} == {"SGD", "AdamW"}


@every
def test_the_seed_governs_the_draws(search: Search) -> None:
    assert asked(search, 3) == asked(search, 3)
    assert asked(search, 3) != asked(search, 4)


@every
def test_no_search_stops_early_and_the_best_heat_goes_to_the_finals(search: Search) -> None:
    records = play(bowl(search=search), quadratic)
    assert Counter(one.stage for one in records) == {Stage.HEAT: 9, Stage.FINAL: 1}
    assert records[-1].point == max(heats(records), key=lambda one: height(one.point)).point


@every
def test_trials_side_by_side_that_stop_and_diverge_and_fail_leave_the_count_exact(search: Search) -> None:
    def outcome(job: Job) -> TrialRecord:
        value = height(job.point)
        kinds = [Status.COMPLETED, Status.STOPPED, Status.DIVERGED, Status.FAILED, Status.COMPLETED]
        kind = kinds[job.number % 5] if job.stage is Stage.HEAT else Status.COMPLETED
        curve = {Status.DIVERGED: [value, math.nan], Status.FAILED: [], Status.STOPPED: [value]}
        return record(job, curve.get(kind, [value - 0.1, value]), kind)

    records = play(bowl(search=search), outcome, at_once=3)
    assert Counter(one.stage for one in records) == {Stage.HEAT: 9, Stage.FINAL: 1}
    points = [tuple(one.point.values()) for one in heats(records)]
    assert len(set(points)) == 9


@every
@pytest.mark.parametrize("most", [1, 4, 8])
def test_a_search_goes_on_from_a_ledger_without_asking_a_point_again(search: Search, most: int) -> None:
    sweep = bowl(search=search)
    first = play(sweep, quadratic, most=most)
    records = play(sweep, quadratic, known=first)
    assert records[:most] == first
    assert len(heats(records)) == 9
    assert len({tuple(one.point.values()) for one in heats(records)}) == 9


@every
def test_a_point_under_way_when_the_command_ended_is_asked_first_and_once(search: Search) -> None:
    sweep = bowl(search=search)
    *first, cut = play(sweep, quadratic, most=4)
    cut = replace(cut, status=Status.RUNNING, history=[], metrics={})
    begun: list[str] = []

    def noted(job: Job) -> TrialRecord:
        begun.append(job.id)
        return quadratic(job)

    records = play(sweep, noted, known=[*first, cut])
    assert begun[0] == cut.id
    assert begun.count(cut.id) == 1
    assert len({one.id for one in heats(records)}) == 9


def regret(search: Search, seed: int) -> float:
    return 0.9 - max(height(one.point) for one in heats(play(bowl(search=search, seed=seed), quadratic)))


@pytest.mark.parametrize(
    ("search", "random", "seeds"),
    [
        (TPE(trials=30), Random(trials=30), 9),
        (CMAES(trials=50), Random(trials=50), 9),
        (GP(trials=12), Random(trials=12), 5),
    ],
    ids=["TPE", "CMAES", "GP"],
)
def test_what_learns_comes_nearer_to_the_top_of_a_hill_than_random_draws(
    search: Search, random: Search, seeds: int
) -> None:
    """Seeds are fixed, and each comes at least twice as near as random draws do, so this does not flake."""
    own = [regret(search, seed) for seed in range(seeds)]
    drawn = [regret(random, seed) for seed in range(seeds)]
    assert median(own) < median(drawn) / 2
    assert sum(a < b for a, b in zip(own, drawn, strict=True)) >= 0.7 * seeds


def test_a_sobol_sequence_is_more_even_than_random_draws_also_when_it_goes_on() -> None:
    from scipy.stats.qmc import discrepancy

    def unevenness(search: Search, seed: int, most: int) -> float:
        sweep = bowl(search=search, seed=seed)
        records = heats(play(sweep, quadratic, known=play(sweep, quadratic, most=most)))
        holes = sweep.domain({}).holes().values()
        places = [[to_unit(h, v) for h, v in zip(holes, one.point.values(), strict=True)] for one in records]
        return float(discrepancy(np.array(places)))

    for seed in range(5):
        drawn = unevenness(Random(trials=32), seed, 16)
        assert unevenness(Sobol(trials=32), seed, 0) < drawn
        assert unevenness(Sobol(trials=32), seed, 16) < drawn


# --- the places of values ---

HOLES: list[Any] = [
    space.Choice(("a", "b", "c")),
    space.Uniform(-1.0, 3.0),
    space.Uniform(1e-4, 1e-1, log=True),
    space.IntRange(3, 9),
    space.IntRange(1, 64, log=True),
    space.IntRange(5, 5),
]


@given(st.sampled_from(HOLES), st.floats(0, 1))
def test_a_value_s_place_leads_back_to_it(hole: Any, place: float) -> None:
    value = from_unit(hole, place)
    again = from_unit(hole, to_unit(hole, value))
    assert again == (pytest.approx(value, rel=1e-12) if isinstance(value, float) else value)


@pytest.mark.parametrize("hole", HOLES, ids=space.describe)
def test_places_rise_with_values_and_whole_numbers_have_their_shares(hole: Any) -> None:
    places = np.linspace(0, 1, 6001)
    values = [from_unit(hole, float(place)) for place in places]
    numbers = [to_unit(hole, value) for value in values]
    assert all(a <= b for a, b in pairwise(numbers))
    if isinstance(hole, space.Choice) or (isinstance(hole, space.IntRange) and not hole.log):
        assert max(Counter(values).values()) - min(Counter(values).values()) <= 2
    if isinstance(hole, space.IntRange) and hole.log:
        assert Counter(values)[1] / 6001 == pytest.approx(math.log(1.5 / 0.5) / math.log(64.5 / 0.5), abs=1e-3)


# --- grid ---


def gridded(recipe: Recipe, grid: Grid) -> list[dict[str, Scalar]]:
    domain = Domain.of(recipe, {})
    return [domain.point(lambda name, _, point=point: point[name]) for point in grid.grid(domain)]  # type: ignore[misc]


def test_a_grid_has_choices_and_whole_numbers_in_full_and_ranges_by_points() -> None:
    recipe = replace(ALL_KINDS, model=MLP(widths=(int_range(3, 5),)))
    points = gridded(recipe, Grid(points=3))
    assert len(points) == 3 * 2 * 3 * 3
    assert len({tuple(point.values()) for point in points}) == 54
    assert {point["model.widths.0"] for point in points} == {3, 4, 5}
    assert sorted({point["optimizer.weight_decay"] for point in points}) == [0.0, 0.25, 0.5]  # type: ignore[type-var]
    rates = sorted({point["optimizer.lr"] for point in points})  # type: ignore[type-var]
    assert rates == [1e-4, pytest.approx(10**-2.5), 1e-1]
    (middle,) = {point["optimizer.lr"] for point in gridded(recipe, Grid(points=1))}
    assert middle == pytest.approx(10**-2.5)


def test_a_grid_combines_a_conditional_hole_with_its_own_option_alone() -> None:
    points = gridded(BRANCHED, Grid(points=2))
    assert len(points) == (2 + 2) * (1 + 2)
    assert {point.get("average.decay") for point in points} == {None, 0.9, 0.99}
    assert {point["optimizer.lr"] for point in points if point["optimizer"] == "SGD"} == {0.1, 1.0}


def test_a_grid_is_dealt_whole_whatever_level_by_level() -> None:
    base = small(early_stop=None, seeds=1, search=Grid(points=3))
    optimizers: tuple[Optimizer, ...] = (
        SGD(lr=choice(0.1, 0.3)),
        AdamW(lr=log_uniform(1e-4, 1e-2)),
        SGD(lr=0.2, momentum=0.5),
    )
    sweep = replace(base, recipe=replace(base.recipe, batch_size=16, optimizer=each(*optimizers)))
    records = play(sweep, lambda job: record(job, [0.5]))
    dealt = Counter(str(one.level["optimizer"]) for one in heats(records))
    assert sorted(dealt.values()) == [1, 2, 3]
    assert sweep.trials == 3


def test_a_grid_that_was_refined_is_dealt_whole_beside_what_is_known() -> None:
    coarse = play(bowl(search=Grid(points=2)), quadratic)
    assert len(heats(coarse)) == 4
    records = play(bowl(search=Grid(points=4)), quadratic, known=coarse)
    assert len(heats(records)) == 16  # the corners are shared
    records = play(bowl(search=Grid(points=1)), quadratic, known=coarse)
    assert len(heats(records)) == 5  # the middle is not one of them


def test_a_grid_in_a_folder_that_holds_more_is_dealt_whole() -> None:
    known = play(bowl(search=Grid(points=2)), quadratic)
    sweep = question.extended(bowl(search=Grid(points=1)), {}, known)
    assert len(heats(play(sweep, quadratic, known=known))) == 5
    cut = play(bowl(search=Grid(points=3, trials=4)), quadratic)
    sweep = question.extended(bowl(search=Grid(points=3, trials=2)), {}, cut)
    assert sweep.trials == 4


def test_a_cut_grid_is_a_drawn_part_of_it() -> None:
    parts = [
        {one.point["optimizer.lr"] for one in heats(play(bowl(search=Grid(points=6, trials=6), seed=seed), quadratic))}
        for seed in range(3)
    ]
    assert all(len(part) >= 3 for part in parts)  # a grid cut in its order would have one learning rate


# --- CMA-ES ---


def test_cma_es_is_the_package_s_own_strategy_told_generation_by_generation() -> None:
    from cmaes import CMA

    from trainables.seeds import derived

    sweep = bowl(search=CMAES(trials=30, startup=3))
    records = heats(play(sweep, quadratic))
    domain = sweep.domain({})
    holes = domain.holes()

    def place(one: TrialRecord) -> np.ndarray:
        return np.array([to_unit(holes[name], value) for name, value in domain.parameters(one.point).items()])

    best = max(records[:3], key=lambda one: height(one.point))
    strategy = CMA(mean=place(best), sigma=0.3, bounds=np.array([[0.0, 1.0]] * 2), seed=0)
    seed = derived("search", 0, "[]", 0) % 2**32
    size = strategy.population_size
    for start in range(3, 30 - size, size):
        for number in range(start, start + size):
            strategy.reseed_rng(derived("cma-es", seed, number) % 2**32)
            assert strategy.ask() == pytest.approx(place(records[number]), abs=1e-9)
        strategy.tell([(place(one), -height(one.point)) for one in records[start : start + size]])


def test_cma_es_learns_where_every_heat_is_stopped_or_diverges() -> None:
    """Left out, or taken alike, these would say nothing."""

    def stopped(job: Job) -> TrialRecord:
        rate = job.point["optimizer.lr"]
        assert isinstance(rate, float)
        blown = job.stage is Stage.HEAT and rate > 0.3
        return record(job, [math.nan] if blown else [height(job.point)], Status.DIVERGED if blown else Status.STOPPED)

    sweep = bowl(search=CMAES(trials=36))
    late = [height(one.point) for one in heats(play(sweep, stopped))[-12:]]
    early = [height(one.point) for one in heats(play(sweep, stopped))[:12]]
    assert median(late) > median(early) + 0.05


# --- what a search is told ---


def test_stopped_and_diverged_heats_count_as_each_sampler_can_take_them() -> None:
    """TPE ranks them as pruned; a Gaussian process knows values alone."""
    outcomes = [
        (Status.COMPLETED, [0.3, 0.8]),
        (Status.STOPPED, [0.2, 0.4]),
        (Status.DIVERGED, [0.6, math.nan]),
        (Status.FAILED, []),
    ]

    def told(search: Search, *, again: bool) -> list[tuple[str, float | None]]:
        sweep = bowl(search=search)
        jobs = [
            Job.of(
                sweep,
                stage=Stage.HEAT,
                level={},
                point={"optimizer.lr": 0.1, "optimizer.momentum": 0.1 * number},
                seed=0,
                seeds=sweep.heat_seeds(),
            )
            for number in range(4)
        ]
        study = LevelStudy(sweep, {}, search, 4 if again else 0)
        for job, (status, curve) in zip(jobs, outcomes, strict=True):
            ended = record(job, curve, status)
            if again:
                study.add(ended)
                continue
            study.resume(job.id, job.point)
            for row in ended.history:
                study.report(job.id, row["epoch"], row["val/accuracy"])
            study.tell(ended)
        return [(trial.state.name, trial.value) for trial in study._study.trials]

    for again in (False, True):
        assert [state for state, _ in told(TPE(), again=again)] == ["COMPLETE", "PRUNED", "PRUNED", "FAIL"]
        assert told(GP(), again=again) == [("COMPLETE", 0.8), ("COMPLETE", 0.4), ("COMPLETE", 0.4), ("FAIL", None)]


@pytest.mark.parametrize("search", [TPE(trials=40), GP(trials=40)], ids=["TPE", "GP"])
def test_a_search_keeps_away_from_where_training_diverges(search: Search) -> None:
    """The hill rises towards an edge beyond which every trial diverges."""

    def edge(job: Job) -> TrialRecord:
        momentum = job.point["optimizer.momentum"]
        assert isinstance(momentum, float)
        return record(job, [math.nan], Status.DIVERGED) if momentum > 0.5 else record(job, [momentum])

    records = heats(play(bowl(search=search, seed=1), edge, most=20))
    late = Counter(one.status for one in records[5:])
    assert late[Status.COMPLETED] > late[Status.DIVERGED]


@pytest.mark.parametrize(("search", "many"), [(TPE(trials=40), 12), (GP(trials=40), 4)], ids=["TPE", "GP"])
def test_points_under_way_push_the_next_ones_apart(search: Search, many: int) -> None:
    """Asked for side by side they spread wider than when each is asked for alone, from the same twelve heats."""
    sweep = bowl(search=search)
    known = play(sweep, quadratic, most=12)

    def points(seed: int, count: int) -> list[list[float]]:
        study = LevelStudy(replace(sweep, seed=seed), {}, search, 12)
        for one in known:
            study.add(one)
        holes = sweep.domain({}).holes().values()
        asked = [study.ask().point for _ in range(count)]
        return [[to_unit(h, v) for h, v in zip(holes, point.values(), strict=True)] for point in asked]

    def spread(places: list[list[float]]) -> float:
        return float(np.linalg.norm(np.std(np.array(places), axis=0)))

    alone = spread([points(seed, 1)[0] for seed in range(many)])
    assert spread(points(0, many)) > 2 * alone


# --- what is refused ---


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"search": Random(trials=0)}, "Random trials 0 must be at least 1"),
        ({"search": TPE(startup=0)}, "TPE startup 0 must be at least 1"),
        ({"search": GP(startup=0)}, "GP startup 0 must be at least 1"),
        ({"search": Grid(points=0)}, "Grid points 0 must be at least 1"),
        ({"search": Grid(points=40)}, "Grid has more than 1000 points (optimizer.lr in log_uniform(0.0001, 1): 40"),
        ({"search": CMAES(), "recipe": BRANCHED}, "CMAES needs the same holes in every trial, but average.decay, optimizer.lr"),
        ({"search": GP(), "recipe": BRANCHED}, "GP needs the same holes in every trial"),
        (
            {"search": CMAES(), "recipe": replace(small().recipe, batch_size=choice(8, 16), optimizer=SGD())},
            "CMAES moves through numbers, but only choices are searched",
        ),
        ({"search": each(TPE(), Random())}, "search is each(TPE, Random); write search=Rivals("),
        ({"search": TPE(trials=int_range(4, 8))}, "search.trials is int_range(4, 8); a search is not searched for"),
        ({"search": Rivals(trials=0, method=TPE())}, "TPE trials 0 must be at least 1"),
        ({"search": Rivals(method=each(*TPE_OR_CMAES)), "recipe": BRANCHED}, "CMAES needs the same holes"),
    ],
)  # fmt: skip
def test_what_cannot_be_searched_so_is_said_before_anything_starts(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(QuestionError) as caught:
        bowl(**changes).check()
    assert said in str(caught.value)


@every
def test_a_good_search_passes(search: Search) -> None:
    bowl(search=search).check()


# --- searches compared ---


def rivals(trials: int = 6) -> Sweep:
    methods: tuple[Search, ...] = (TPE(startup=3), Random(), Grid(points=3))
    return bowl(search=Rivals(trials=trials, method=each(*methods)), seeds=2)


def test_rivals_are_levels_with_as_many_heats_and_finals_of_their_own() -> None:
    sweep = rivals()
    sweep.check()
    assert sweep.factors() == {"search.method": ["TPE(startup=3)", "Random", "Grid(points=3)"]}
    records = play(sweep, quadratic)
    by_level = Counter((str(one.level["search.method"]), one.stage) for one in records)
    assert set(by_level.values()) == {6, 2}
    assert len({one.id for one in records}) == len(records)
    for one in heats(records):
        inside(sweep.recipe, {path: value for path, value in one.point.items() if not path.startswith("search.")})


def test_rivals_that_find_the_same_point_each_have_it_run() -> None:
    base = rivals()
    sweep = replace(base, recipe=replace(base.recipe, optimizer=SGD(lr=choice(0.1, 0.3), momentum=0.9)))
    records = play(sweep, lambda job: record(job, [0.5]))
    finals = Counter(str(one.level["search.method"]) for one in records if one.stage is Stage.FINAL)
    assert set(finals.values()) == {2}
    assert len(finals) == 3


def test_workers_and_searches_can_be_compared_together_where_something_is_searched() -> None:
    sweep = replace(rivals(), resources=Resources(workers=each(1, 2)))
    sweep.check()
    records = play(sweep, quadratic)
    assert len(sweep.levels()) == 6
    assert len({one.id for one in records}) == len(records) == 6 * (6 + 2)
    assert {sweep.workers(one.point) for one in records} == {1, 2}


def test_settings_of_a_search_can_be_compared_too() -> None:
    sweep = bowl(search=TPE(trials=5, startup=each(2, 5)))
    sweep.check()
    records = play(sweep, quadratic)
    assert Counter(one.level["search.startup"] for one in heats(records)) == {2: 5, 5: 5}


def test_the_question_which_search_is_best_is_a_good_one() -> None:
    from sweeps.search import sweep

    sweep.check()
    assert len(sweep.levels()) == 4
