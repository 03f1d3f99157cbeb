"""Dropout of every kind at a rate of each member's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn

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
    """Let the layer have its rate ``p`` as a buffer, in place; one that is ``idle`` gives what it is given.

    So does torch's own at a rate of 0. To draw a mask that keeps everything would take as long as one that does not. Code of one's
    own that reads the rate has the member's own too, as a tensor, or fails where it cannot take one.
    """
    if "p" not in part._buffers:
        rate = cast("float", part.p)
        del part.p
        part.register_buffer("p", torch.tensor(rate))
    part.forward = _kept if idle else partial(_dropped, part, KINDS[type(part)])


def _kept(input: Tensor) -> Tensor:  # noqa: A002  # as torch names it
    return input


def _dropped(part: nn.Module, kind: Drop, input: Tensor) -> Tensor:  # noqa: A002
    """What the layer gives for one member's batch [B, ...]. Raises ValueError for a batch that torch would read in another way."""
    x = input
    if not part.training:
        return x
    if kind.channels and (x.ndim < 2 if kind.ndim is None else x.ndim != kind.ndim):
        raise ValueError(f"{type(part).__name__} of {x.ndim} dimensions")
    rate = cast("Tensor", part.p).to(x.dtype)
    shape = (*x.shape[:2], *[1] * (x.ndim - 2)) if kind.channels else x.shape
    # Single precision at least: bfloat16 would round the rate to one in 256.
    drawn = torch.rand(shape, dtype=torch.promote_types(x.dtype, torch.float32), device=x.device)
    kept = drawn >= cast("Tensor", part.p)
    if kind.alpha:
        scale = ((ALPHA**2 * rate + 1) * (1 - rate)).rsqrt()
        return x * (kept * scale) + (kept.to(x.dtype) - 1 + rate) * (ALPHA * scale)
    factor = kept / (1 - rate)
    return x.mul_(factor) if part.inplace else x * factor
