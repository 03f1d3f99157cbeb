"""Every schedule: its curve, its warm-up, its limits."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.optim import lr_scheduler

from tests.trainables.small import recipe, task
from trainables import Maximise, Minimise
from trainables.fit import fit
from trainables.recipe import Part
from trainables.schedules import (
    Constant,
    Cosine,
    Exponential,
    OneCycle,
    Plateau,
    Reactive,
    Schedule,
    Step,
    WarmRestarts,
    curve,
    reactive,
)

MEMBERS: list[Any] = [
    Constant(),
    Cosine(),
    Cosine(floor=0.1),
    Step(),
    Step(every=0.2, factor=0.5),
    Step(milestones=(0.5, 0.75)),
    Exponential(final=0.02),
    WarmRestarts(),
    WarmRestarts(cycles=4, growth=1.0, floor=0.2),
    OneCycle(),
    Plateau(),
]
every = pytest.mark.parametrize("schedule", MEMBERS, ids=repr)


def optimizer() -> torch.optim.Optimizer:
    return torch.optim.SGD([nn.Parameter(torch.zeros(1))], 1.0)


def learning_rates(scheduler: Any, steps: int) -> Iterator[float]:
    """The lr of each of the steps, for an optimizer whose own is 1."""
    for _ in range(steps):
        yield scheduler.get_last_lr()[0]
        scheduler.optimizer.step()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # CosineAnnealingWarmRestarts is given its epoch by its own step()
            scheduler.step()


STEPS = 60
TORCH_S: list[tuple[Schedule, Callable[[torch.optim.Optimizer], Any]]] = [
    (Constant(), lambda o: lr_scheduler.ConstantLR(o, factor=1.0)),
    (Constant(warmup=0.25), lambda o: lr_scheduler.LambdaLR(o, lambda step: min(1.0, step / 15))),
    (Cosine(), lambda o: lr_scheduler.CosineAnnealingLR(o, T_max=STEPS)),
    (Cosine(floor=0.1), lambda o: lr_scheduler.CosineAnnealingLR(o, T_max=STEPS, eta_min=0.1)),
    (Step(), lambda o: lr_scheduler.StepLR(o, step_size=20)),
    (Step(every=0.1, factor=0.5), lambda o: lr_scheduler.StepLR(o, step_size=6, gamma=0.5)),
    (Step(milestones=(0.3, 0.6), factor=0.2), lambda o: lr_scheduler.MultiStepLR(o, [18, 36], gamma=0.2)),
    (Exponential(final=0.02), lambda o: lr_scheduler.ExponentialLR(o, gamma=0.02 ** (1 / STEPS))),
    (
        WarmRestarts(cycles=4, growth=2.0, floor=0.1),
        lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, T_0=4, T_mult=2, eta_min=0.1),
    ),
    (WarmRestarts(cycles=6, growth=1.0), lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, T_0=10)),
    (
        WarmRestarts(cycles=1, growth=3.0, floor=0.05),
        lambda o: lr_scheduler.CosineAnnealingLR(o, T_max=STEPS, eta_min=0.05),
    ),
]


@pytest.mark.parametrize(("schedule", "theirs"), TORCH_S, ids=[repr(schedule) for schedule, _ in TORCH_S])
def test_it_is_torch_s_own(schedule: Schedule, theirs: Callable[[torch.optim.Optimizer], Any]) -> None:
    for step, lr in enumerate(learning_rates(theirs(optimizer()), STEPS)):
        assert schedule(step / STEPS) == pytest.approx(lr, abs=1e-12), step


@pytest.mark.parametrize("rise", [0.3, 0.5])
def test_one_cycle_is_torch_s_own(rise: float) -> None:
    """torch reaches the peak one step before that share of the steps, and the end at the last step instead of after it."""
    scheduler = lr_scheduler.OneCycleLR(
        optimizer(), max_lr=1.0, total_steps=STEPS, pct_start=rise, cycle_momentum=False
    )
    mine = OneCycle(rise=(rise * STEPS - 1) / (STEPS - 1))
    for step, lr in enumerate(learning_rates(scheduler, STEPS - 1)):
        assert mine(step / (STEPS - 1)) == pytest.approx(lr, abs=1e-12), step
    assert mine(1.0) == pytest.approx(scheduler.get_last_lr()[0], abs=1e-15)


values = st.sampled_from([0.0, 0.1, 0.2, 0.3, 0.31, 0.5, 1.0, math.nan, math.inf])


@given(
    st.lists(values, max_size=40),
    st.sampled_from([Minimise("loss"), Maximise("accuracy")]),
    st.integers(0, 4),
    st.sampled_from([0.1, 0.5, 0.9]),
    st.sampled_from([0.0, 0.1]),
    st.sampled_from([0.0, 0.05, 0.6]),
)
def test_plateau_is_torch_s_own(
    stream: list[float], goal: Maximise | Minimise, patience: int, factor: float, min_delta: float, floor: float
) -> None:
    theirs = optimizer()
    scheduler = lr_scheduler.ReduceLROnPlateau(
        theirs,
        mode="max" if isinstance(goal, Maximise) else "min",
        factor=factor,
        patience=patience,
        threshold=min_delta,
        threshold_mode="abs",
        min_lr=floor,
        eps=0.0,
    )
    mine = Plateau(factor=factor, patience=patience, min_delta=min_delta, floor=floor)
    history: list[dict[str, Any]] = []
    for value in stream:
        history.append({"epoch": len(history) + 1, f"val/{goal.metric}": value})
        scheduler.step(value)
        assert mine.after(history, goal)(0.5) == theirs.param_groups[0]["lr"]


def test_plateau_goes_by_its_own_goal_and_by_epochs_with_validation_alone() -> None:
    history = [{"val/loss": 1.0, "val/accuracy": 0.5}, {}, {"val/loss": 0.5, "val/accuracy": 0.5}, {}, {}]
    schedule = Plateau(factor=0.5, patience=0)
    assert isinstance(schedule, Reactive)
    assert schedule.after([], Maximise("accuracy"))(0.5) == 1.0
    assert schedule.after(history[:2], Maximise("accuracy"))(0.5) == 1.0
    assert schedule.after(history, Maximise("accuracy"))(0.5) == 0.5
    assert replace(schedule, goal=Minimise("loss")).after(history, Maximise("accuracy"))(0.5) == 1.0


def test_plateau_warms_up_whatever_the_history() -> None:
    after = Plateau(factor=0.5, patience=0, warmup=0.2).after([{"val/loss": 1.0}] * 2, Minimise("loss"))
    assert [after(progress) for progress in (0.0, 0.1, 0.2, 1.0)] == [0.0, 0.25, 0.5, 0.5]
    assert list(after.conflicts()) == []


def test_fit_follows_a_plateau_also_after_a_resume() -> None:
    """Too large an lr: accuracy stands still, and every epoch without an improvement costs a factor."""
    asked = recipe(schedule=Plateau(factor=0.5, patience=0, warmup=0.05), epochs=10)
    states: list[Any] = []
    for epoch in fit(task, asked):
        history = epoch.run.history
        expected = asked.schedule.after(history[:-1], task.goal)(1.0)  # type: ignore[attr-defined]
        assert epoch.lr == pytest.approx(0.1 * expected, abs=1e-15)
        states.append(copy.deepcopy(epoch.run.state()))
    seen = [row["lr"] for row in history]
    assert len(set(seen)) > 2
    resumed = [epoch.lr for epoch in fit(task, asked, state=states[5])]
    assert resumed == seen[6:]


@every
def test_every_schedule_begins_with_the_same_warm_up(schedule: Any) -> None:
    """Linear from 0 to where the schedule begins; then it goes on from there without a jump, and ends where it ended."""
    warmed = replace(schedule, warmup=0.2)
    begin = schedule(0.0)
    assert [warmed(progress) for progress in (0.0, 0.05, 0.1, 0.15)] == pytest.approx(
        [0.0, begin / 4, begin / 2, begin * 3 / 4]
    )
    assert warmed(0.2) == pytest.approx(begin if not isinstance(schedule, Step) else schedule(0.2))
    assert warmed(1.0) == pytest.approx(schedule(1.0))
    if isinstance(schedule, Step | Plateau):
        assert [warmed(p) for p in (0.3, 0.5, 0.8)] == [schedule(p) for p in (0.3, 0.5, 0.8)]
    else:
        assert warmed(0.6) == pytest.approx(schedule(0.5))


shares, inner = st.floats(0, 1), st.floats(0.01, 0.99)


@given(inner, shares, shares, inner, st.integers(1, 20), st.floats(1, 4), shares)
def test_every_schedule_stays_between_nothing_and_the_peak(
    warmup: float, floor: float, start: float, inside: float, cycles: int, growth: float, progress: float
) -> None:
    for schedule in (
        Constant(warmup=warmup),
        Cosine(warmup=warmup, floor=floor),
        Step(every=inside, factor=inside, warmup=warmup),
        Step(milestones=(inside, start), factor=inside, warmup=warmup),
        Exponential(final=inside, warmup=warmup),
        WarmRestarts(cycles=cycles, growth=growth, floor=floor, warmup=warmup),
        OneCycle(rise=inside, start=start, end=floor, warmup=warmup),
        Plateau(factor=inside, floor=floor, warmup=warmup),
    ):
        assert -1e-12 <= schedule(progress) <= 1 + 1e-12
    assert Constant(warmup=warmup)(1.0) == 1.0
    assert Cosine(warmup=warmup, floor=floor)(1.0) == pytest.approx(floor, abs=1e-9)
    assert WarmRestarts(cycles=cycles, growth=growth, floor=floor, warmup=warmup)(1.0) == pytest.approx(floor, abs=1e-9)
    assert Exponential(final=inside, warmup=warmup)(1.0) == pytest.approx(inside, abs=1e-9)
    assert OneCycle(rise=inside, start=start, end=floor, warmup=warmup)(1.0) == pytest.approx(floor, abs=1e-9)
    assert OneCycle(rise=inside, start=start, end=floor)(inside) == pytest.approx(1.0)


def test_a_curve_is_the_schedule_at_even_points() -> None:
    assert curve(Step(milestones=(0.5,)), points=5) == [(0.0, 1.0), (0.25, 1.0), (0.5, 0.1), (0.75, 0.1), (1.0, 0.1)]
    assert len(curve(Cosine())) == 200
    with pytest.raises(ValueError, match="at least 2"):
        curve(Cosine(), points=1)


@pytest.mark.parametrize("schedule", [s for s in MEMBERS if not isinstance(s, Plateau)], ids=repr)
def test_fit_follows_it_and_a_resumed_run_goes_on_in_the_middle(schedule: Any) -> None:
    warmed = recipe(schedule=replace(schedule, warmup=0.1), epochs=5)
    epochs = fit(task, warmed)
    seen = [next(epochs)]
    state = seen[0].run.state()
    seen.extend(epochs)
    for epoch in seen:
        last = epoch.run.plan.progress(epoch.run.plan.steps_per_epoch * epoch.epoch - 1)
        assert epoch.lr == pytest.approx(0.1 * warmed.schedule(last), abs=1e-15)
    resumed = list(fit(task, warmed, state=state))
    assert [epoch.lr for epoch in resumed] == [epoch.lr for epoch in seen[1:]]


@pytest.mark.parametrize(
    ("part", "said"),
    [
        *((replace(member, warmup=1.0), "warmup 1.0") for member in MEMBERS),
        (Cosine(floor=2.0), "floor 2.0"),
        (WarmRestarts(floor=-0.1), "floor -0.1"),
        (WarmRestarts(cycles=0), "cycles 0"),
        (WarmRestarts(growth=0.5), "growth 0.5"),
        (Step(every=0.0), "every 0.0"),
        (Step(every=0.5, milestones=(0.5,)), "give one of them"),
        (Step(milestones=(0.5, 30)), "milestones (0.5, 30)"),
        (Step(factor=1.0), "factor 1.0"),
        (Exponential(final=0.0), "final 0.0"),
        (OneCycle(rise=1.0), "rise 1.0"),
        (OneCycle(start=25.0), "start 25.0"),
        (OneCycle(end=math.nan), "end nan"),
        (Plateau(factor=1.0), "factor 1.0"),
        (Plateau(patience=-1), "patience -1"),
        (Plateau(min_delta=math.nan), "min_delta nan"),
        (Plateau(floor=1.5), "floor 1.5"),
    ],
)
def test_settings_that_make_no_sense_are_said(part: Part, said: str) -> None:
    conflicts = list(part.conflicts())
    assert len(conflicts) == 1
    assert said in conflicts[0]


@every
def test_the_members_themselves_have_no_conflict(schedule: Any) -> None:
    assert list(schedule.conflicts()) == []
    assert isinstance(schedule, Reactive) == reactive(schedule) == isinstance(schedule, Plateau)
