"""Early stopping level by level."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from sweeps.engine.stopping.early_stop import EarlyStop, Stopper


class Levels:
    """One stopper a level, so that a level is never stopped for being slower than another.

    Trials are known by their ids, so that a continued trial stands where it stood.
    """

    def __init__(self, settings: EarlyStop | None, epochs: int, mode: str) -> None:
        self._settings, self._epochs, self._mode = settings, epochs, mode
        self._levels: dict[str, Stopper] = {}

    def stops(self, level: str, trial: str, epoch: int, value: float) -> bool:
        """Take in a value and say whether the trial should stop; never at its last epoch, never for a value that is not finite."""
        if self._settings is None or not math.isfinite(value):
            return False
        if level not in self._levels:
            self._levels[level] = self._settings.build(self._epochs, self._mode)
        return self._levels[level].stops(trial, epoch, value) and epoch < self._epochs

    def feed(self, level: str, trial: str, history: Iterable[Mapping[str, Any]], name: str) -> int | None:
        """Take in a recorded history of the metric ``name``; the epoch of its cut comes back, if there was one."""
        cut = None
        for row in history:
            value = row.get(name)
            if value is not None and self.stops(level, trial, row["epoch"], value):
                cut = row["epoch"]
        return cut
