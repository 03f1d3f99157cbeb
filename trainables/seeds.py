"""Where randomness comes from: three named seeds, and generators derived from them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, kw_only=True, slots=True)
class Seeds:
    """What is drawn in one run: the weights at the start, the order of the data (and dropout), the split."""

    init: int = 0
    order: int = 0
    split: int = 0


def derived(*parts: int | str) -> int:
    """A seed of 63 bits from several numbers and words; the same on every machine."""
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def generator(*parts: int | str) -> torch.Generator:
    """A CPU generator for these numbers and words."""
    import torch

    return torch.Generator().manual_seed(derived(*parts))


@contextmanager
def seeded(device: torch.device, *parts: int | str) -> Iterator[None]:
    """Run a block on torch's global generators seeded from ``parts``, and put their state back afterwards.

    Layers such as dropout draw from the global generators alone. A block that starts from (seed, epoch) needs no saved state to
    be repeated, so a resumed run draws what the uninterrupted one drew.
    """
    import torch

    seed = derived(*parts)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        # Not torch.manual_seed, which seeds devices that are not put back, and takes a millisecond where there is no GPU.
        torch.default_generator.manual_seed(seed)
        if device.type == "cuda":
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield
