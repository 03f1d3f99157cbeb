"""Learning curves: for each level the mean over its finals, with a band."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from analysis.records import TrialRecord
from analysis.target import clocked
from reports.reduce import thin

BAND = (0.1, 0.9)
"""Quantiles over the finals between which a band lies."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CurvePoint:
    """One level at one epoch: mean and band over the ``n`` finals that have a value there, and their median seconds."""

    level: str
    epoch: int
    seconds: float | None
    mean: float
    low: float
    high: float
    n: int


def number(value: Any) -> float | None:
    """The value as a finite number, else None."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not np.isfinite(value):
        return None
    return float(value)


def curve_points(finals: Mapping[str, Sequence[TrialRecord]], metric: str) -> list[CurvePoint]:
    """The mean curve of each level, at most 50 epochs of it; finals by level's label, ``metric`` with its prefix.

    Seconds are those of the finals that were trained alone.
    """
    points: list[CurvePoint] = []
    for label, records in finals.items():
        values: dict[int, list[float]] = {}
        seconds: dict[int, list[float]] = {}
        clocks: dict[int, int] = {}
        for record in records:
            alone = clocked(record)
            for row in record.history:
                value, epoch = number(row.get(metric)), number(row.get("epoch"))
                if value is None or epoch is None:
                    continue
                values.setdefault(int(epoch), []).append(value)
                clocks[int(epoch)] = clocks.get(int(epoch), 0) + alone
                if alone and (at := number(row.get("seconds"))) is not None:
                    seconds.setdefault(int(epoch), []).append(at)
        for epoch in thin(sorted(values)):
            here = np.array(values[epoch])
            low, high = (float(q) for q in np.quantile(here, BAND))
            # Half of the runs' clocks would place the point by the wrong runs; those of a pack have none.
            timed = seconds.get(epoch, [])
            at = float(np.median(timed)) if timed and len(timed) == clocks[epoch] else None
            points.append(
                CurvePoint(
                    level=label, epoch=epoch, seconds=at, mean=float(here.mean()), low=low, high=high, n=len(here)
                )
            )
    return points


def coincident(points: Sequence[CurvePoint]) -> list[list[str]]:
    """The labels of curves that hide one another, as groups: the same epochs, and means that differ by no millionth."""
    curves: dict[str, list[tuple[int, float]]] = {}
    for point in points:
        curves.setdefault(point.level, []).append((point.epoch, point.mean))
    groups: list[list[str]] = []
    for label, curve in curves.items():
        for group in groups:
            first = np.array(curves[group[0]])
            if first.shape == (len(curve), 2) and np.allclose(first, np.array(curve), rtol=1e-6, atol=0):
                group.append(label)
                break
        else:
            groups.append([label])
    return [group for group in groups if len(group) > 1]


def window(points: Sequence[CurvePoint], mode: str, target: float | None) -> tuple[float, float]:
    """The values worth seeing: the worst sixth of the curves, their steep beginning, may lie outside."""
    low = [point.low for point in points]
    high = [point.high for point in points]
    if mode == "max":
        bottom, top = float(np.quantile(low, 0.15)), max(high)
    else:
        bottom, top = min(low), float(np.quantile(high, 0.85))
    if target is not None and bottom - (top - bottom) < target < top + (top - bottom):
        bottom, top = min(bottom, target), max(top, target)
    margin = 0.04 * (top - bottom) or 0.05 * abs(top) or 0.05
    return bottom - margin, top + margin
