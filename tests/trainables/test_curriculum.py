"""Curriculum: easy samples first, as many as ever."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tests.trainables.small import recipe, task
from trainables import ConflictError, Curriculum
from trainables.fit import fit
from trainables.seeds import generator


def distance(tensors: tuple[Tensor, ...]) -> Tensor:
    """Far from the origin is easy, for these clusters."""
    return -tensors[0].norm(dim=1)


ranked = replace(task, difficulty=distance)


@given(st.integers(1, 80), st.floats(0.01, 1), st.floats(0.05, 1), st.integers(1, 12))
def test_an_epoch_has_as_many_samples_as_ever_and_the_last_has_all(
    samples: int, start: float, full: float, epochs: int
) -> None:
    curriculum = Curriculum(start=start, full=full)
    hardness = torch.arange(samples, 0, -1)
    shares = [curriculum.share(epoch, epochs) for epoch in range(1, epochs + 1)]
    assert shares == sorted(shares)
    for epoch in range(1, epochs + 1):
        order = curriculum.order(hardness, epoch, epochs, generator(epoch))
        assert len(order) == samples
        counts = torch.bincount(order, minlength=samples)
        there = counts[counts > 0]
        # Those that are in are the easiest, each as often as the others, give or take one.
        assert torch.equal(counts > 0, torch.arange(samples) >= samples - len(there))
        assert int(there.max() - there.min()) <= 1
        if curriculum.share(epoch, epochs) == 1.0:
            assert int(counts.min()) == 1


def test_the_loop_starts_with_what_is_easy() -> None:
    curriculum = Curriculum(start=0.25, full=0.5)
    chosen = []
    for epoch in fit(ranked, recipe(curriculum=curriculum, epochs=4)):
        order = epoch.run.order()
        hardness = distance(epoch.run.splits.train)
        chosen.append((len(set(order.tolist())), float(hardness[order].max())))
    assert [count for count, _ in chosen] == [16, 39, 61, 61]
    assert chosen[0][1] < chosen[1][1] < chosen[2][1] == chosen[3][1]


def test_it_changes_the_run_and_not_its_length() -> None:
    plain = list(fit(ranked, recipe()))
    easy = list(fit(ranked, recipe(curriculum=Curriculum())))
    assert [epoch.step for epoch in plain] == [epoch.step for epoch in easy]
    assert plain[0].metrics["train/loss"] > easy[0].metrics["train/loss"]


def test_a_task_that_does_not_say_what_is_hard_is_refused() -> None:
    with pytest.raises(ConflictError, match=r"give Task\(difficulty=...\)"):
        next(iter(fit(task, recipe(curriculum=Curriculum()))))


@pytest.mark.parametrize("curriculum", [Curriculum(start=0.0), Curriculum(full=0.0), Curriculum(start=1.5)])
def test_conflicts(curriculum: Curriculum) -> None:
    assert len(list(curriculum.conflicts())) == 1
