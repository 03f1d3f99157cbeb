"""Runs whose settings change on the way."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.trainables.small import recipe, task
from trainables import EMA, SGD, Adam, ClipNorm, Cosine, DropoutRamp, Focal, Recipe
from trainables import keep as kept
from trainables.checkpoints import load
from trainables.course import WHOLE, Course, Segment
from trainables.keep import LAST
from trainables.models import MLP
from trainables.run import Run
from trainables.train import Ending, Trained, train

BEFORE = recipe(epochs=6, optimizer=SGD(lr=0.2, momentum=0.5), schedule=Cosine(), average=EMA(decay=0.9))
AFTER = recipe(
    epochs=6,
    optimizer=SGD(lr=0.02, momentum=0.9, weight_decay=0.1),
    schedule=Cosine(warmup=0.5),
    average=EMA(decay=0.9),
    clip=ClipNorm(0.5),
    loss=Focal(gamma=1.0),
)


def never(_: Sequence[Mapping[str, Any]]) -> bool:
    return False


def trained(recipe: Recipe, folder: Path, course: Course = WHOLE) -> Trained:
    return train(task, recipe, folder=folder, report=never, course=course)


def numbers(run: Trained) -> list[tuple[float, ...]]:
    return [(row["epoch"], row["step"], row["lr"], row["train/loss"], row["val/loss"]) for row in run.history]


def test_a_segment_goes_on_from_another_run_s_checkpoint(tmp_path: Path) -> None:
    first = trained(BEFORE, tmp_path / "first", Course(until=2))
    assert first.ending is Ending.STOPPED
    assert first.reason == "its segment ends at epoch 2"
    whole = trained(BEFORE, tmp_path / "whole")
    assert numbers(first) == numbers(whole)[:2]
    earlier = (Segment(recipe=BEFORE, until=2),)
    second = trained(AFTER, tmp_path / "second", Course(earlier=earlier, begin=tmp_path / "first", until=4))
    assert numbers(second)[:2] == numbers(first)
    assert len(second.history) == 4
    assert numbers(second)[2:] != numbers(whole)[2:4]
    assert second.history[2]["lr"] == pytest.approx(0.02 * AFTER.schedule(11.5 / 24), rel=1e-12)


def test_trained_anew_or_gone_on_with_a_course_gives_the_same(tmp_path: Path) -> None:
    trained(BEFORE, tmp_path / "parent", Course(until=2))
    earlier = (Segment(recipe=BEFORE, until=2),)
    gone_on = trained(AFTER, tmp_path / "child", Course(earlier=earlier, begin=tmp_path / "parent"))
    assert gone_on.ending is Ending.COMPLETED
    shutil.rmtree(tmp_path / "parent")
    lost = trained(AFTER, tmp_path / "lost", Course(earlier=earlier, begin=tmp_path / "parent"))
    anew = trained(AFTER, tmp_path / "anew", Course(earlier=earlier))
    assert numbers(gone_on) == numbers(lost) == numbers(anew)
    assert len(numbers(anew)) == 6


def test_a_parent_whose_states_are_damaged_is_trained_anew(tmp_path: Path) -> None:
    trained(BEFORE, tmp_path / "parent", Course(until=2))
    earlier = (Segment(recipe=BEFORE, until=2),)
    whole = trained(AFTER, tmp_path / "whole", Course(earlier=earlier, begin=tmp_path / "parent"))
    for state in (LAST, kept.BEFORE):
        (tmp_path / "parent" / state).write_bytes(b"not a state")
    child = trained(AFTER, tmp_path / "child", Course(earlier=earlier, begin=tmp_path / "parent"))
    assert numbers(child) == numbers(whole)
    assert "its epochs were trained anew" in child.history[0]["remark"]


def test_a_segment_whose_only_state_is_damaged_begins_again_from_its_parent(tmp_path: Path) -> None:
    """And the damaged one is written over, not kept as the state before."""
    trained(BEFORE, tmp_path / "parent", Course(until=2))
    course = Course(earlier=(Segment(recipe=BEFORE, until=2),), begin=tmp_path / "parent")
    whole, child = trained(AFTER, tmp_path / "whole", course), tmp_path / "child"

    def at_the_third(history: Sequence[Mapping[str, Any]]) -> bool:
        return len(history) == 3

    train(task, AFTER, folder=child, report=at_the_third, course=course)
    (child / LAST).write_bytes(b"not a state")
    again = train(task, AFTER, folder=child, report=at_the_third, course=course)
    assert again.history[2]["remark"] == "last.pt was damaged and the only state; the run began anew"
    assert not (child / kept.BEFORE).exists()
    assert numbers(trained(AFTER, child, course)) == numbers(whole)


@pytest.mark.parametrize("after", [1, 2, 3, 5])
def test_a_course_that_was_interrupted_ends_as_it_would_have(tmp_path: Path, after: int) -> None:
    course = Course(earlier=(Segment(recipe=BEFORE, until=2), Segment(recipe=AFTER, until=4)))

    def interrupted(history: Sequence[Mapping[str, Any]]) -> bool:
        if len(history) == after:
            raise KeyboardInterrupt
        return False

    with pytest.raises(KeyboardInterrupt):
        train(task, BEFORE, folder=tmp_path / "one", report=interrupted, course=course)
    assert load(tmp_path / "one" / LAST) is not None
    assert numbers(trained(BEFORE, tmp_path / "one", course)) == numbers(trained(BEFORE, tmp_path / "two", course))


def test_every_setting_of_the_optimizer_is_the_later_recipe_s(tmp_path: Path) -> None:
    """What torch keeps in the optimizer's state would else win: its load brings the settings back that it was saved with."""
    before, after = recipe(optimizer=Adam(lr=0.1)), recipe(optimizer=Adam(lr=0.1, betas=(0.5, 0.6), eps=1e-3))
    state = _at(before, tmp_path, 2)
    run = Run.start(task, after, splits=None, device=torch.device("cpu"))
    run.load(state)
    assert [group["betas"] for group in run.optimizer.param_groups] == [(0.5, 0.6)]
    assert [group["eps"] for group in run.optimizer.param_groups] == [1e-3]


def test_moments_stay_with_their_parameters_when_decay_divides_them_otherwise(tmp_path: Path) -> None:
    """Without decay all are in one group, with it vectors have one of their own."""
    state = _at(recipe(optimizer=SGD(lr=0.1, momentum=0.9)), tmp_path, 2)
    run = Run.start(
        task, recipe(optimizer=SGD(lr=0.1, momentum=0.9, weight_decay=0.1)), splits=None, device=torch.device("cpu")
    )
    run.load(state)
    assert len(run.optimizer.param_groups) == 2
    for parameter, saved in zip(run.parameters, state["optimizer"], strict=True):
        assert torch.equal(run.optimizer.state[parameter]["momentum_buffer"], saved["momentum_buffer"])


def _at(recipe: Recipe, folder: Path, epoch: int) -> dict[str, Any]:
    """The state of a run at the end of an epoch."""
    trained(recipe, folder, Course(until=epoch))
    state = load(folder / LAST)
    assert state is not None
    return state


def test_the_rate_of_dropout_changes_with_the_segment(tmp_path: Path) -> None:
    def dropped(rate: float) -> Recipe:
        return recipe(model=MLP(widths=(8,), dropout=0.1), dropout=DropoutRamp(start=rate, end=rate))

    course = Course(earlier=(Segment(recipe=dropped(0.0), until=2),))
    rates = [row["dropout"] for row in trained(dropped(0.5), tmp_path, course).history]
    assert rates == [0.0, 0.0, 0.5, 0.5]
