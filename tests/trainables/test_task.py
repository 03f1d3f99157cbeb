"""What a task's splits say about themselves."""

from __future__ import annotations

from dataclasses import replace

import torch

from tests.trainables.small import clusters
from trainables import Splits
from trainables.data import InMemory


def test_equal_data_has_equal_digests_and_other_data_has_not() -> None:
    first = clusters(0)
    assert first.digest() == clusters(0).digest()
    inputs, targets = first.train
    other = inputs.clone()
    other[0] += 1
    for changed in (
        clusters(1),
        replace(first, train=(inputs, targets.roll(1))),
        replace(first, train=(inputs.double(), targets)),
        replace(first, train=(other, targets)),
        replace(first, val=first.test, test=first.val),
        replace(first, more={"night": first.val}),
    ):
        assert changed.digest() != first.digest()


def test_data_of_any_type_and_shape_has_one() -> None:
    for inputs in (torch.zeros(3, 2, dtype=torch.bfloat16), torch.zeros(5000, dtype=torch.bool), torch.zeros(2, 0)):
        some = (inputs, torch.zeros(len(inputs), dtype=torch.long))
        assert len(str(Splits(train=some, val=some, test=some).digest())) == 16


def test_what_is_no_tensor_in_memory_has_none() -> None:
    splits = clusters(0)
    assert Splits(train=InMemory(splits.train), val=splits.val, test=splits.test).digest() is None
