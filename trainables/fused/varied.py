"""Settings of a loss that members of one pack have each for themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import is_dataclass, replace
from typing import TYPE_CHECKING, Any

from trainables.losses import CrossEntropy, Focal, Loss

if TYPE_CHECKING:
    from torch import Tensor

VARIES: Mapping[type, str] = {CrossEntropy: "smoothing", Focal: "gamma"}
"""The setting of each loss that may be a tensor."""


def common(loss: Loss) -> Loss:
    """The loss with 0 for what may differ between members: equal for all that can be trained together."""
    name = VARIES.get(type(loss))
    return replace(loss, **{name: 0.0}) if name is not None and is_dataclass(loss) else loss


def settings(losses: Sequence[Loss], like: Tensor) -> dict[str, Tensor]:
    """What the members' losses have beside what is ``common``, by name, [K]; nothing where that is all of them."""
    name = VARIES.get(type(losses[0]))
    values = [getattr(loss, name) for loss in losses] if name is not None else []
    if name is None or not any(values):
        return {}
    import torch

    return {name: torch.tensor(values, dtype=like.dtype, device=like.device)}


def with_own(loss: Loss, own: Mapping[str, Any]) -> Loss:
    """A member's loss, the settings in ``own`` being tensors."""
    return replace(loss, **own) if own else loss  # type: ignore[type-var]
