"""Curriculum: easy samples first."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@dataclass(frozen=True, kw_only=True, slots=True)
class Curriculum:
    """Train on the easiest ``start`` share of the samples first; the share grows evenly to all of them at ``full`` of the run.

    ``full=0.5`` is half the run. Samples are as hard as ``Task.difficulty`` says. Every epoch has as many samples as without a
    curriculum, the easy ones then more than once, so that epochs, steps and schedule stay what they are
    (Bengio et al., 2009; Hacohen and Weinshall, 2019).
    """

    start: float = 0.3
    full: float = 0.5

    def share(self, epoch: int, epochs: int) -> float:
        """Share of the samples that ``epoch`` (from 1) of ``epochs`` draws from."""
        done = (epoch - 1) / epochs
        return 1.0 if done >= self.full else self.start + (1 - self.start) * done / self.full

    def order(self, difficulty: Tensor, epoch: int, epochs: int, generator: torch.Generator) -> Tensor:
        """Indices of the epoch's samples, [N], for samples of this ``difficulty``, [N]; ties go by their place in the set."""
        import torch

        samples = len(difficulty)
        open_to = max(1, math.ceil(self.share(epoch, epochs) * samples))
        easiest = torch.argsort(difficulty.cpu(), stable=True)[:open_to]
        rounds = [easiest[torch.randperm(open_to, generator=generator)] for _ in range(math.ceil(samples / open_to))]
        return torch.cat(rounds)[:samples]

    def conflicts(self) -> Iterator[str]:
        """What is wrong with the settings."""
        if not 0 < self.start <= 1:
            yield f"Curriculum start {self.start} must lie above 0 and up to 1: it is a share of the samples, 0.3 is usual"
        if not 0 < self.full <= 1:
            yield f"Curriculum full {self.full} must lie above 0 and up to 1: it is a share of the run, 0.5 is usual"
