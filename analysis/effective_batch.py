"""The effective batch of a level as its finals took it: which batches fit their steps, and how that changes with the workers."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Self

from analysis.records import Scalar, TrialRecord


class Growth(StrEnum):
    """How the effective batch goes with the number of workers."""

    STRONG = "strong"
    """It stays the same: the same work is shared by more."""
    WEAK = "weak"
    """It grows in proportion: each worker has as much as before."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Batches:
    """The least and the greatest batch that fit; ``most`` is infinite where an epoch is one step."""

    least: int
    most: float

    @classmethod
    def of(cls, records: Sequence[TrialRecord]) -> Self | None:
        """The batches that fit all of the trials' epochs; None where these do not say, or differ.

        An epoch of N samples in S steps, the last of which may be short, has a batch from N / S up to, but less than,
        N / (S - 1). A step that a loss scaler skipped had its batch too.
        """
        epochs = {_epoch(record) for record in records}
        found = epochs.pop() if len(epochs) == 1 else None
        if found is None:
            return None
        samples, steps = found
        return cls(
            least=math.ceil(samples / steps),
            most=math.inf if steps == 1 else math.ceil(samples / (steps - 1)) - 1,
        )

    def named(self, value: Scalar) -> int | None:
        """The one batch that fits: the only one there is, or the only one that ``value`` mentions (``PerWorker(samples=64)``)."""
        if self.least == self.most:
            return self.least
        mentioned = {
            number for text in re.findall(r"\d+", str(value)) if self.least <= (number := int(text)) <= self.most
        }
        return mentioned.pop() if len(mentioned) == 1 else None


def growth(found: Mapping[int, Batches]) -> tuple[Growth, Batches] | None:
    """How the batch goes with the workers, from the batches that fit each number of them; None where that cannot be said.

    With it come the batches that fit all: in all for strong scaling, those of one worker for weak.
    """
    if len(found) < 2:
        return None
    same = Batches(least=max(b.least for b in found.values()), most=min(b.most for b in found.values()))
    if same.least <= same.most:
        return Growth.STRONG, same
    share = Batches(
        least=max(math.ceil(batches.least / workers) for workers, batches in found.items()),
        most=min(batches.most // workers for workers, batches in found.items()),
    )
    return (Growth.WEAK, share) if share.least <= share.most else None


def _epoch(record: TrialRecord) -> tuple[int, int] | None:
    """Samples and steps of one epoch, skipped steps among them."""
    last = record.history[-1] if record.history else {}
    epochs, samples, steps, skipped = (last.get(name) for name in ("epoch", "samples", "step", "skipped_steps"))
    if not (isinstance(epochs, int) and isinstance(samples, int) and isinstance(steps, int)):
        return None
    steps += skipped if isinstance(skipped, int) else 0
    if min(epochs, samples, steps) < 1 or samples % epochs or steps % epochs:
        return None
    return samples // epochs, steps // epochs
