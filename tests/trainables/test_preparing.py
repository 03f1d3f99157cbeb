"""Data that several runs have in common."""

from __future__ import annotations

import gc
import pickle
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import torch

from tests.trainables.small import recipe, task
from trainables import FP32, FP64, Holdout, KFold, Splits
from trainables.fused.feed import Feed, place
from trainables.fused.passes import Sets
from trainables.preparing import PreparedOnce, prepare
from trainables.run import Run
from trainables.seeds import Seeds

CPU = torch.device("cpu")


def single(seed: int) -> Splits:
    """In single precision, so that runs in double precision convert it."""
    splits = task.data(seed)
    train, val, test = (tuple(t.float() if t.is_floating_point() else t for t in s) for s in splits.named().values())
    return Splits(train=train, val=val, test=test)


def test_what_runs_have_in_common_is_converted_once_and_let_go_with_the_last_of_them() -> None:
    splits, held, given = single(0), PreparedOnce(), replace(task, data=single)
    runs = [
        Run.start(given, recipe(precision=FP64(), seed=Seeds(init=k, order=k)), splits=splits, device=CPU, prepare=held)
        for k in range(3)
    ]
    assert len({id(run.splits) for run in runs}) == 1
    sets = Sets(runs)
    assert all(sets.shared(name) for name in ("train", "val", "test"))
    feed = Feed(runs, once=True)
    assert place(feed._tensors) == place(runs[0].splits.train)  # and not a copy for each
    del feed, sets
    assert len(held._held) == 1
    runs.clear()
    gc.collect()
    assert len(held._held) == 0


def draws(**changes: Any) -> Any:
    return recipe(**{"split": Holdout(val=0.3), "precision": FP64(), "seed": Seeds(split=0), **changes})


@pytest.mark.parametrize(
    ("other", "same"),
    [
        (draws(), True),
        (draws(batch_size=3, seed=Seeds(init=1, order=1, split=0)), True),
        (draws(seed=Seeds(split=1)), False),
        (draws(split=Holdout(val=0.4)), False),
        (draws(split=KFold(folds=5)), False),
        (draws(split=None), False),
        (draws(precision=FP32()), False),
    ],
    ids=["equal", "what data does not go by", "seed", "share", "kind", "none", "type"],
)
def test_what_is_drawn_divided_and_converted_alike_is_held_once(other: Any, same: bool) -> None:
    splits, held = single(0), PreparedOnce()
    first, second = (held(splits, each, CPU) for each in (draws(), other))
    assert (first is second) == same
    for found, each in ((first, draws()), (second, other)):
        torch.testing.assert_close(found.named(), prepare(splits, each, CPU).named(), rtol=0.0, atol=0.0)


def test_to_another_process_it_comes_empty() -> None:
    held = PreparedOnce()
    kept = held(single(0), draws(), CPU)
    assert len(held._held) == 1
    assert len(pickle.loads(pickle.dumps(held))._held) == 0
    assert held(single(0), draws(), CPU) is kept


@dataclass(frozen=True, kw_only=True)
class Named:
    """A split of one's own that has no hash."""

    names: list[str] = field(default_factory=list)

    def __call__(self, splits: Splits, _: int) -> Splits:
        return splits


def test_a_split_without_a_hash_is_made_for_each() -> None:
    splits, held, each = single(0), PreparedOnce(), replace(draws(), split=Named())
    first, second = held(splits, each, CPU), held(splits, each, CPU)
    assert first is not second
    torch.testing.assert_close(first.named(), second.named(), rtol=0.0, atol=0.0)
