"""Splitting a set into train, validation and test."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainables.seeds import generator
from trainables.task import Splits

if TYPE_CHECKING:
    from torch import Tensor


def stratified(inputs: Tensor, target: Tensor, *, seed: int, val: float = 0.2, test: float = 0.2) -> Splits:
    """Shares of every class [N] drawn by ``seed``: samples are ordered by class, shuffled within, and dealt by position.

    Sizes depend on the counts alone, never on the seed, so that all seeds train on as many samples.
    """
    import torch

    count = len(target)
    shuffled = torch.randperm(count, generator=generator("split", seed))
    by_class = shuffled[torch.argsort(target[shuffled], stable=True)]
    return _dealt(inputs, target, by_class, val=val, test=test)


def random(inputs: Tensor, target: Tensor, *, seed: int, val: float = 0.2, test: float = 0.2) -> Splits:
    """Shares of the whole set drawn by ``seed``."""
    import torch

    return _dealt(inputs, target, torch.randperm(len(target), generator=generator("split", seed)), val=val, test=test)


def _dealt(inputs: Tensor, target: Tensor, order: Tensor, *, val: float, test: float) -> Splits:
    """Walk along ``order`` and deal each sample to the split that is furthest behind its share."""
    import torch

    position = torch.arange(len(order), dtype=torch.float64)
    tests = torch.floor((position + 1) * test + 1e-9) > torch.floor(position * test + 1e-9)
    vals = (torch.floor((position + 1) * (val + test) + 1e-9) > torch.floor(position * (val + test) + 1e-9)) & ~tests

    def chosen(mask: Tensor) -> tuple[Tensor, Tensor]:
        return inputs[order[mask]], target[order[mask]]

    return Splits(train=chosen(~tests & ~vals), val=chosen(vals), test=chosen(tests))
