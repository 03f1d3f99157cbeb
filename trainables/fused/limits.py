"""Gradient clipping of each member by itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from trainables.clip import Clip, ClipNorm, Clips, ClipValue
from trainables.fused.rules.blocks import column

if TYPE_CHECKING:
    from trainables.fused.rows import Rows

Limit = Callable[[Tensor], Tensor]
"""Clips each member's row of [K, P] in place; the norms before come back, [K]."""

SMALL = 1e-6
"""What torch adds to a norm before it divides by it."""


def limit_of(rows: Rows, clips: Sequence[Clip]) -> Limit:
    """The members' clips, of one kind, as one; by each member's own where the kind is not known here."""
    kinds = {type(clip) for clip in clips}
    if kinds == {ClipNorm}:
        return _norms(column([clip.norm for clip in clips if isinstance(clip, ClipNorm)], rows.flat))
    if kinds == {ClipValue}:
        return _values(column([clip.limit for clip in clips if isinstance(clip, ClipValue)], rows.flat))
    if kinds == {Clips}:
        both = [clip for clip in clips if isinstance(clip, Clips)]
        first, then = limit_of(rows, [clip.first for clip in both]), limit_of(rows, [clip.then for clip in both])
        return _both(first, then)
    return _each(rows, clips)


def _norms(most: Tensor) -> Limit:
    def clip(gradient: Tensor) -> Tensor:
        norms: Tensor = gradient.norm(dim=1, keepdim=True)
        gradient.mul_((most / (norms + SMALL)).clamp(max=1.0))
        return norms.squeeze(1)

    return clip


def _values(most: Tensor) -> Limit:
    def clip(gradient: Tensor) -> Tensor:
        norms: Tensor = gradient.norm(dim=1)
        torch.clamp(gradient, -most, most, out=gradient)
        return norms

    return clip


def _both(first: Limit, then: Limit) -> Limit:
    def clip(gradient: Tensor) -> Tensor:
        norms = first(gradient)
        then(gradient)
        return norms

    return clip


def _each(rows: Rows, clips: Sequence[Clip]) -> Limit:
    """A clip of one's own, member by member."""

    def clip(gradient: Tensor) -> Tensor:
        norms = []
        for member, own in enumerate(clips):
            rows.point(member, gradient)
            norms.append(torch.as_tensor(own(rows.in_order(member)), dtype=torch.float64, device=gradient.device))
            rows.take(member, gradient)
        return torch.stack(norms)

    return clip
