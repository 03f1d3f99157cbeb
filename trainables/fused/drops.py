"""Dropout of every kind at a rate of each member's own."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn

DRAWS = 2**16
"""Numbers that a draw may give, so that a rate is met to one in 131,072: the same in every precision."""

ALPHA = 1.7580993408473766
"""What an alpha dropout puts in the place of a value is minus this: the negative limit of SELU (Klambauer et al., 2017)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Drop:
    """How a layer drops: single values or whole ``channels``, of samples with ``ndim`` dimensions; ``alpha`` as SELU wants it."""

    channels: bool = False
    ndim: int | None = None
    alpha: bool = False


KINDS: Mapping[type[nn.Module], Drop] = {
    nn.Dropout: Drop(),
    nn.Dropout1d: Drop(channels=True, ndim=3),
    nn.Dropout2d: Drop(channels=True, ndim=4),
    nn.Dropout3d: Drop(channels=True, ndim=5),
    nn.AlphaDropout: Drop(alpha=True),
    nn.FeatureAlphaDropout: Drop(channels=True, alpha=True),
}
"""The layers whose rate may be each member's own."""


def own_rate(part: nn.Module) -> bool:
    """Whether a layer's rate is each member's own in a pack; one that drops all is built so and stays so."""
    return type(part) in KINDS and float(cast("float", part.p)) < 1


def vary(part: nn.Module, *, idle: bool = False) -> None:
    """Let the layer read its rate from a buffer ``rate``, in place; one that is ``idle`` gives what it is given.

    So does torch's own at a rate of 0. To draw a mask that keeps everything would take as long as one that does not.
    """
    if "rate" not in part._buffers:
        part.register_buffer("rate", torch.tensor(cast("float", part.p)))
    part.forward = _kept if idle else partial(_dropped, part, KINDS[type(part)])


def _kept(x: Tensor) -> Tensor:
    return x


def _dropped(part: nn.Module, kind: Drop, x: Tensor) -> Tensor:
    """What the layer gives for one member's batch [B, ...]. Raises ValueError for a batch that torch would read in another way."""
    if not part.training:
        return x
    if kind.channels and (x.ndim < 2 if kind.ndim is None else x.ndim != kind.ndim):
        raise ValueError(f"{type(part).__name__} of {x.ndim} dimensions")
    rate = cast("Tensor", part.rate).to(x.dtype)
    shape = (*x.shape[:2], *[1] * (x.ndim - 2)) if kind.channels else x.shape
    least = (cast("Tensor", part.rate) * DRAWS).round().clamp(max=DRAWS - 1) - DRAWS // 2
    kept = _drawn(shape, x.device) >= least.to(torch.int16)
    if kind.alpha:
        scale = ((ALPHA**2 * rate + 1) * (1 - rate)).rsqrt()
        return x * (kept * scale) + (kept.to(x.dtype) - 1 + rate) * (ALPHA * scale)
    factor = kept / (1 - rate)
    return x.mul_(factor) if part.inplace else x * factor


def _drawn(shape: tuple[int, ...], device: torch.device) -> Tensor:
    """Whole numbers of ``DRAWS``, each as likely, from the least that two bytes hold on.

    Torch makes eight bytes at a time, and takes as long for each: four draws of two bytes take a third of the time of four of four.
    """
    count = math.prod(shape)
    whole = torch.randint(-(2**63), 2**63 - 1, (-(-count // 4),), device=device)
    return whole.view(torch.int16)[:count].view(shape)
