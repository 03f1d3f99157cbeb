"""How a run's data is divided again into what is learned from and what is chosen on; the test set is never touched."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from trainables.data.source import chosen, count, joined
from trainables.errors import ConflictError
from trainables.seeds import generator

if TYPE_CHECKING:
    from torch import Tensor

    from trainables.task import Splits


@runtime_checkable
class Split(Protocol):
    """A part that divides the training and validation samples of a task anew."""

    @property
    def ordered(self) -> bool:
        """True when the samples must lie in the order of time: the task then says ``ordered=True``."""
        ...

    def __call__(self, splits: Splits[Any], seed: int) -> Splits[Any]:
        """The same samples and the same test set, divided by ``seed``. Raises ConflictError when there are too few samples."""
        ...

    def conflicts(self) -> Iterator[str]:
        """What is wrong with the settings."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Holdout:
    """A share ``val`` of the samples drawn by the seed for validation, the rest for training."""

    val: float = 0.2

    @property
    def ordered(self) -> bool:
        """Any order will do."""
        return False

    def __call__(self, splits: Splits[Any], seed: int) -> Splits[Any]:
        """Draw the validation set."""
        import torch

        samples = _samples(splits)
        count = max(1, round(self.val * samples))
        _enough("Holdout", samples, count + 1)
        order = torch.randperm(samples, generator=generator("holdout", seed))
        return _divided(splits, order[count:].sort().values, order[:count].sort().values)

    def conflicts(self) -> Iterator[str]:
        """What is wrong with the settings."""
        if not 0 < self.val < 1:
            yield f"Holdout val {self.val} must lie between 0 and 1: it is a share of the samples, 0.2 is usual"


@dataclass(frozen=True, kw_only=True, slots=True)
class KFold:
    """Cross-validation: the samples fall into ``folds`` parts of equal size, and one of them is the validation set.

    Which one follows from the seed, and so do the parts: seeds ``k * folds`` to ``k * folds + folds - 1`` validate on each sample
    once. A sweep of as many finals as folds is one cross-validation. ``fold`` names one part of the seed's division instead.
    """

    folds: int = 5
    fold: int | None = None

    @property
    def ordered(self) -> bool:
        """Any order will do."""
        return False

    def __call__(self, splits: Splits[Any], seed: int) -> Splits[Any]:
        """Take one part for validation."""
        import torch

        samples = _samples(splits)
        _enough(f"KFold(folds={self.folds})", samples, self.folds)
        order = torch.randperm(samples, generator=generator("folds", seed // self.folds))
        parts = list(order.tensor_split(self.folds))
        val = parts.pop(seed % self.folds if self.fold is None else self.fold)
        return _divided(splits, torch.cat(parts).sort().values, val.sort().values)

    def conflicts(self) -> Iterator[str]:
        """What is wrong with the settings."""
        if not isinstance(self.folds, int) or self.folds < 2:
            yield f"KFold folds {self.folds} must be a whole number from 2; 5 is usual"
        elif self.fold is not None and not 0 <= self.fold < self.folds:
            yield f"KFold fold {self.fold} must lie between 0 and {self.folds - 1}; None takes the one of the seed"


@dataclass(frozen=True, kw_only=True, slots=True)
class WalkForward:
    """For series in the order of time: train on what came before, validate on what comes next (Tashman, 2000).

    The samples fall into ``folds`` + 1 blocks; fold f validates on block f + 1 and trains on all before it, or on the last
    ``window`` samples of them. ``gap`` samples between the two are left out, so that windows of lags do not look ahead. The fold
    follows from the seed, or is ``fold``.
    """

    folds: int = 5
    fold: int | None = None
    gap: int = 0
    window: int | None = None

    @property
    def ordered(self) -> bool:
        """The samples must lie in the order of time."""
        return True

    def __call__(self, splits: Splits[Any], seed: int) -> Splits[Any]:
        """Take one block for validation and what came before it for training."""
        import torch

        samples = _samples(splits)
        blocks = torch.arange(samples).tensor_split(self.folds + 1)
        fold = seed % self.folds if self.fold is None else self.fold
        val = blocks[fold + 1]
        _enough(f"WalkForward(folds={self.folds}, gap={self.gap})", len(blocks[0]), self.gap + 1)
        end = int(val[0]) - self.gap
        begin = 0 if self.window is None else max(0, end - self.window)
        return _divided(splits, torch.arange(begin, end), val)

    def conflicts(self) -> Iterator[str]:
        """What is wrong with the settings."""
        if not isinstance(self.folds, int) or self.folds < 1:
            yield f"WalkForward folds {self.folds} must be a whole number from 1; 5 is usual"
        elif self.fold is not None and not 0 <= self.fold < self.folds:
            yield f"WalkForward fold {self.fold} must lie between 0 and {self.folds - 1}; None takes the one of the seed"
        if self.gap < 0:
            yield f"WalkForward gap {self.gap} must not be negative; 0 leaves nothing out"
        if self.window is not None and self.window < 1:
            yield f"WalkForward window {self.window} must be at least 1; None trains on everything before"


def _samples(splits: Splits[Any]) -> int:
    return count(splits.train) + count(splits.val)


def _enough(name: str, samples: int, needed: int) -> None:
    if samples < needed:
        raise ConflictError(
            "split", [f"{name} needs at least {needed} samples where there are {samples}; take fewer folds"]
        )


def _divided(splits: Splits[Any], train: Tensor, val: Tensor) -> Splits[Any]:
    """Training and validation samples one after the other, divided by index."""
    pool = joined(splits.train, splits.val)
    return replace(splits, train=chosen(pool, train), val=chosen(pool, val))
