"""Splitting a set into train, validation and test."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainables.seeds import generator
from trainables.task import Splits

if TYPE_CHECKING:
    from torch import Tensor

    from trainables.data.source import Indexed


def stratified(inputs: Tensor, target: Tensor, *, seed: int, val: float = 0.2, test: float = 0.2) -> Splits:
    """Shares of every class [N] drawn by ``seed``: samples are ordered by class, shuffled within, and dealt by position.

    Sizes depend on the counts alone, never on the seed, so that all seeds train on as many samples.
    """
    return _tensors(inputs, target, _dealt(_by_class(target, seed), val=val, test=test))


def random(inputs: Tensor, target: Tensor, *, seed: int, val: float = 0.2, test: float = 0.2) -> Splits:
    """Shares of the whole set drawn by ``seed``."""
    import torch

    order = torch.randperm(len(target), generator=generator("split", seed))
    return _tensors(inputs, target, _dealt(order, val=val, test=test))


def divided(
    source: Indexed, *, seed: int, by_class: bool = True, val: float = 0.2, test: float = 0.2
) -> Splits[Indexed]:
    """The same shares of a source, without a copy: of every class, its targets then read once, or of the whole set.

    Samples are the ones that ``stratified`` or ``random`` takes from tensors in the same order.
    """
    import torch

    from trainables.data.indexed import Chosen
    from trainables.data.source import every_target

    drawn = generator("split", seed)
    order = _by_class(every_target(source), seed) if by_class else torch.randperm(source.samples, generator=drawn)
    train, chosen_on, judged_on = (Chosen(source=source, rows=rows) for rows in _dealt(order, val=val, test=test))
    return Splits(train=train, val=chosen_on, test=judged_on)


def _by_class(target: Tensor, seed: int) -> Tensor:
    """Samples by class, in random order within each."""
    import torch

    shuffled = torch.randperm(len(target), generator=generator("split", seed))
    return shuffled[torch.argsort(target[shuffled], stable=True)]


def _tensors(inputs: Tensor, target: Tensor, parts: tuple[Tensor, Tensor, Tensor]) -> Splits:
    train, val, test = ((inputs[rows], target[rows]) for rows in parts)
    return Splits(train=train, val=val, test=test)


def _dealt(order: Tensor, *, val: float, test: float) -> tuple[Tensor, Tensor, Tensor]:
    """Walk along ``order`` and deal each sample to the split that is furthest behind its share: train, val and test."""
    import torch

    position = torch.arange(len(order), dtype=torch.float64)
    tests = torch.floor((position + 1) * test + 1e-9) > torch.floor(position * test + 1e-9)
    vals = (torch.floor((position + 1) * (val + test) + 1e-9) > torch.floor(position * (val + test) + 1e-9)) & ~tests
    return order[~tests & ~vals], order[vals], order[tests]
