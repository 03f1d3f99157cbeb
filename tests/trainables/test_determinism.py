"""Deterministic mode: switched on for the run alone, and what cannot be deterministic is refused by torch."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from tests.trainables.small import recipe, task
from trainables.fit import fit


def unordered(output: Tensor, target: Tensor) -> Tensor:
    """Writes to indices that come twice: which value stays is anybody's guess."""
    where = torch.zeros(2, dtype=torch.int64)
    torch.zeros(4).put_(where, torch.tensor([1.0, 2.0]))
    return functional.cross_entropy(output, target)


def test_it_holds_inside_the_run_and_is_put_back() -> None:
    seen = []

    def loss(output: Tensor, target: Tensor) -> Tensor:
        seen.append(torch.are_deterministic_algorithms_enabled())
        return functional.cross_entropy(output, target)

    for _ in fit(task, recipe(loss=loss, deterministic=True, epochs=2)):
        assert not torch.are_deterministic_algorithms_enabled()
    assert set(seen) == {True}


def test_an_operation_that_cannot_be_deterministic_is_named() -> None:
    assert next(iter(fit(task, recipe(loss=unordered)))).epoch == 1
    with pytest.raises(RuntimeError, match=r"put_.*does not have a deterministic implementation"):
        next(iter(fit(task, recipe(loss=unordered, deterministic=True))))
    assert not torch.are_deterministic_algorithms_enabled()
