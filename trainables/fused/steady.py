"""Which modules and losses do the same at every call."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from types import FunctionType
from typing import TYPE_CHECKING

from torch import nn

from trainables.modules import known, own

if TYPE_CHECKING:
    from trainables.losses import Loss


def steady(module: nn.Module, loss: Loss) -> bool:
    """Whether the operations of one training step are those of all: nothing but torch's and this package's code.

    A hook, a forward of one's own and a function that is handed to one of torch's layers are other code. Of layers with buffers,
    by which a step may go, there are those of BatchNorm, which takes every batch into its statistics in the same way.
    """
    return all(known(part) and (not part._buffers or _even(part)) for part in module.modules()) and all(
        own(part) for part in parts(loss)
    )


def _even(part: nn.Module) -> bool:
    """Whether it is a BatchNorm to which all batches are alike: without a momentum the first counts for more than the next."""
    return type(part) in (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d) and part.momentum is not None


def parts(loss: object) -> list[object]:
    """The loss and the losses inside it."""
    inner = [getattr(loss, field.name) for field in fields(loss)] if is_dataclass(loss) else []
    return [loss, *(part for value in inner if callable(value) for part in parts(value))]


def same_always(metric: object) -> bool:
    """Whether a metric is one of this package's functions, which go by nothing but their tensors."""
    return isinstance(metric, FunctionType) and metric.__module__ == "trainables.metrics" and not metric.__closure__
