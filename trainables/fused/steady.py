"""Which modules and losses do the same at every call."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from types import FunctionType
from typing import TYPE_CHECKING

from torch import nn

from trainables.fused.marks import HOOKS

if TYPE_CHECKING:
    from trainables.losses import Loss

OWN = ("torch.nn.", "trainables.models.", "trainables.losses.")
"""Where code comes from that goes by nothing but its tensors and settings."""


def steady(module: nn.Module, loss: Loss) -> bool:
    """Whether the operations of one training step are those of all: nothing but torch's and this package's code, without buffers.

    A buffer may be written in a step, as BatchNorm's statistics are. A hook, a forward of one's own and a function that is handed
    to one of torch's layers are other code.
    """
    return all(_steady(part) for part in module.modules()) and all(_own(part) for part in parts(loss))


def reads_only(module: nn.Module) -> bool:
    """Whether a steady module writes nothing into what it is given: of torch's layers those do that are asked to."""
    return not any(getattr(part, "inplace", False) for part in module.modules())


def parts(loss: object) -> list[object]:
    """The loss and the losses inside it."""
    inner = [getattr(loss, field.name) for field in fields(loss)] if is_dataclass(loss) else []
    return [loss, *(part for value in inner if callable(value) for part in parts(value))]


def _steady(part: nn.Module) -> bool:
    if not _own(part) or part._buffers or hooked(part):
        return False
    held = vars(part).items()
    return all(_own(value) for _, value in held if callable(value) and not isinstance(value, nn.Module))


def same_always(metric: object) -> bool:
    """Whether a metric is one of this package's functions, which go by nothing but their tensors."""
    return isinstance(metric, FunctionType) and metric.__module__ == "trainables.metrics" and not metric.__closure__


def hooked(part: nn.Module) -> bool:
    """Whether functions are called around a part's passes."""
    return any(vars(part)[name] for name in HOOKS)


def _own(part: object) -> bool:
    """Whether an object's code is torch's or this package's."""
    named = getattr(part, "__module__", None) or ""
    return f"{named}.".startswith(OWN)
