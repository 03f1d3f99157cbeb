"""Dividing the data anew: everything is covered, nothing leaks."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.trainables.small import recipe, task
from trainables import ConflictError, Holdout, KFold, Splits, WalkForward
from trainables.fit import fit
from trainables.recipe import Part
from trainables.split import Split


def numbered(train: int, val: int, test: int = 3) -> Splits:
    """Samples that carry their number, so that each can be followed."""
    numbers = torch.arange(train + val + test)
    parts = numbers.split([train, val, test])
    first, second, third = ((part[:, None].float(), part) for part in parts)
    return Splits(train=first, val=second, test=third)


def numbers(tensors: tuple[torch.Tensor, ...]) -> list[int]:
    assert torch.equal(tensors[0][:, 0].long(), tensors[1])
    return tensors[1].tolist()


@given(st.integers(1, 60), st.integers(1, 20), st.integers(0, 1000), st.sampled_from([2, 3, 5]))
def test_folds_cover_every_sample_once_and_leak_nothing(train: int, val: int, block: int, folds: int) -> None:
    splits, seen = numbered(train, val), []
    if train + val < folds:
        with pytest.raises(ConflictError, match="take fewer folds"):
            KFold(folds=folds)(splits, 0)
        return
    for seed in range(block * folds, block * folds + folds):
        divided = KFold(folds=folds)(splits, seed)
        assert sorted(numbers(divided.train) + numbers(divided.val)) == list(range(train + val))
        assert numbers(divided.test) == numbers(splits.test)
        seen += numbers(divided.val)
    assert sorted(seen) == list(range(train + val))


def test_another_seed_draws_other_folds_and_a_fold_can_be_named() -> None:
    splits = numbered(40, 10)
    drawn = {tuple(numbers(KFold(folds=5)(splits, seed).val)) for seed in range(10)}
    assert len(drawn) == 10
    assert numbers(KFold(folds=5, fold=2)(splits, 0).val) == numbers(KFold(folds=5)(splits, 2).val)


@given(st.integers(20, 80), st.integers(1, 4), st.integers(0, 3), st.sampled_from([None, 1, 5]))
def test_walking_forward_never_looks_ahead(samples: int, folds: int, gap: int, window: int | None) -> None:
    splits = numbered(samples - 5, 5)
    seen: list[int] = []
    for seed in range(folds):
        divided = WalkForward(folds=folds, gap=gap, window=window)(splits, seed)
        train, val = numbers(divided.train), numbers(divided.val)
        assert max(train) == min(val) - gap - 1
        assert train == list(range(train[0], train[-1] + 1))
        assert train[0] == 0 if window is None else len(train) <= window
        assert numbers(divided.test) == numbers(splits.test)
        seen += val
    assert seen == list(range(seen[0], samples))


def test_a_held_out_share_has_its_size_and_follows_the_seed() -> None:
    splits = numbered(80, 20)
    first, again, other = (Holdout(val=0.3)(splits, seed) for seed in (1, 1, 2))
    assert len(numbers(first.val)) == 30
    assert numbers(first.val) == numbers(again.val) != numbers(other.val)
    assert sorted(numbers(first.train) + numbers(first.val)) == list(range(100))


def test_the_loop_trains_on_the_division() -> None:
    whole = next(iter(fit(task, recipe(epochs=1)))).run.splits
    divided = next(iter(fit(task, recipe(epochs=1, split=KFold(folds=4))))).run.splits
    assert len(divided.val[-1]) == (len(whole.train[-1]) + len(whole.val[-1])) // 4
    assert torch.equal(divided.test[0], whole.test[0])
    assert not torch.equal(divided.val[0][:5], whole.val[0][:5])


def test_samples_out_of_order_cannot_be_walked_through() -> None:
    settings = recipe(split=WalkForward(folds=2))
    with pytest.raises(ConflictError, match=r"order of time.*set Task\(ordered=True\)"):
        next(iter(fit(task, settings)))
    assert next(iter(fit(replace(task, ordered=True), settings))).epoch == 1


@pytest.mark.parametrize(
    ("split", "said"),
    [
        (Holdout(val=1.0), "val 1.0"),
        (KFold(folds=1), "folds 1"),
        (KFold(folds=3, fold=3), "fold 3"),
        (WalkForward(folds=0), "folds 0"),
        (WalkForward(fold=7), "fold 7"),
        (WalkForward(gap=-1), "gap -1"),
        (WalkForward(window=0), "window 0"),
    ],
)
def test_conflicts(split: Split, said: str) -> None:
    assert isinstance(split, Part)
    (conflict,) = split.conflicts()
    assert said in conflict


def test_too_large_a_gap_is_refused() -> None:
    with pytest.raises(ConflictError, match="needs at least 11 samples where there are 10"):
        WalkForward(folds=4, gap=10)(numbered(45, 5), 0)


def test_further_validation_sets_are_measured_by_name() -> None:
    def data(seed: int) -> Splits:
        splits = task.data(seed)
        return replace(splits, more={"night": tuple(tensor[:7] for tensor in splits.test)})

    for epoch in fit(replace(task, data=data), recipe(epochs=2)):
        assert {"val_night/loss", "val_night/accuracy", "val/loss"} <= epoch.metrics.keys()
        assert epoch.metrics["val_night/loss"] != epoch.metrics["val/loss"]


def test_a_further_set_is_checked_like_any_other() -> None:
    splits = task.data(0)
    wrong = replace(splits, more={"a/b": splits.val, "none": tuple(tensor[:0] for tensor in splits.val)})
    said = " ".join(wrong.conflicts())
    assert "slash" in said
    assert "val_none is empty" in said
