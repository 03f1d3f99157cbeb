"""Whether the loss moves as it should: it leaves the finite, swings, spikes, or is driven by gradients that grow."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

import numpy as np

from analysis.doctor import changes
from analysis.doctor.course import Array, Course, Group, Series, middle
from analysis.doctor.finding import Disease, Finding, found
from analysis.doctor.trend import SURE, chance, rising, trend

SWING = {"train": 0.1, "val": 0.25}
"""A rise from one epoch to the next by this share of the loss is a swing. Training loss is the mean over an epoch of steps and
smooth in healthy runs; validation loss is that of one moment."""

TURNS, SHARE = 3, 0.2
"""Swings that are got over, at the least, and as a share of the epochs."""

SPIKE, OUTLYING = 0.5, 5.0
"""A spike stands above the epochs around it by this share of their loss, and by so many sd of what these vary."""

USUAL = 2.2
"""What makes an sd of the 35 % quantile of sizes, which spikes and the steep beginning leave alone; of normal noise it is one."""

GROWTH = 3.0
"""Gradients have grown when the last third of the epochs has so many times the norm of the first third."""

BLOWN = 1.5
"""A run has run away when it ends at so many times its first training loss, or more."""


def divergence(group: Group) -> Finding | None:
    """Finals whose loss left the finite, and those whose training loss ends far above where it began."""
    away = [course for course in group.courses if _away(course)]
    if not group.diverged and not away:
        return None
    said, first = [], []
    if group.diverged:
        epochs = sorted(int(record.history[-1]["epoch"]) if record.history else 1 for record in group.diverged)
        first += epochs
        where = f"epoch {epochs[0]}" if epochs[0] == epochs[-1] else f"epochs {epochs[0]} to {epochs[-1]}"
        reasons = sorted({record.reason.partition(" at ")[0] for record in group.diverged if record.reason})
        seeds = ", ".join(str(record.seed) for record in group.diverged)
        said.append(
            f"{len(group.diverged)} of {group.size} finals diverged at {where} ({'; '.join(reasons) or 'not finite'}; seed {seeds})"
        )
    if away:
        ends = [(course.train.values[0], middle(course.train.last())) for course in away]
        first += [course.train.epochs[int(np.argmin(course.train.values))] for course in away]
        begun, end = np.median(np.array(ends), axis=0)
        said.append(
            f"training loss grows from {changes.short(begun)} in epoch 1 to {changes.short(end)} in {len(away)} of "
            f"{group.size} finals"
        )
    return found(
        Disease.DIVERGENCE,
        level=group.label,
        trials=[*(record.id for record in group.diverged), *(course.id for course in away)],
        of=group.size,
        evidence="; ".join(said),
        change=changes.diverged(group, first),
    )


def _away(course: Course) -> bool:
    values = course.train.values
    return len(values) >= 3 and values[0] > 0 and middle(course.train.last()) > BLOWN * values[0]


def oscillation(group: Group) -> Finding | None:
    """The loss goes up and down from epoch to epoch by a good part of itself, again and again."""
    for name, what in (("train", "training"), ("val", "validation")):
        series = {course.id: course.train if name == "train" else course.val for course in group.courses}
        rises = {one: swings(values, SWING[name]) for one, values in series.items()}
        sick = [one for one, (sizes, steps) in rises.items() if len(sizes) >= max(TURNS, SHARE * steps)]
        if not sick or len(sick) * 2 <= len(group.courses):
            continue
        sizes = [size for one in sick for size in rises[one][0]]
        size, last = float(np.median(sizes)), max(series[one].epochs[-1] for one in sick)
        return found(
            Disease.OSCILLATION,
            level=group.label,
            trials=sick,
            of=group.size,
            evidence=f"{what} loss goes up and comes down again {len(sizes) / len(sick):.0f} times in {last} epochs, by "
            f"{100 * size:.0f} % of itself at a time{_finals(len(sick), group)}",
            change=changes.calmer(group),
            sure=1 - 0.5 ** min(len(sizes), 10),
            strength=min(1.0, 2 * size),
        )
    return None


def swings(series: Series, size: float) -> tuple[list[float], int]:
    """The rises of a loss by more than the share ``size``, each once however many epochs it takes, and how many steps there are.

    The first quarter of the run is left out, and losses below a hundredth of the first: there nothing is at stake.
    """
    values = series.values[len(series) // 4 :]
    if len(values) < 4 or values.min() <= 0:
        return [], max(0, len(values) - 1)
    steps = np.diff(values) / np.maximum(values[:-1], 0.01 * series.values[0])
    large = steps > size
    begins = large & ~np.concatenate([[False], large[:-1]])
    return steps[begins].tolist(), len(steps)


def spikes(group: Group) -> Finding | None:
    """Single epochs whose training loss stands far above those around them, and that are got over."""
    seen = {course.id: spiked(course.train) for course in group.courses}
    sick = [one for one, epochs in seen.items() if epochs]
    if not sick or len(sick) * 3 < len(group.courses):
        return None
    times = sum(len(epochs) for epochs in seen.values())
    tallest = max((height, epoch, course) for course, epochs in seen.items() for epoch, height in epochs)
    return found(
        Disease.SPIKES,
        level=group.label,
        trials=sick,
        of=group.size,
        evidence=f"training loss spikes {times} time{'' if times == 1 else 's'}{_finals(len(sick), group)}, at worst to "
        f"{changes.short(1 + tallest[0])} times what is around it, at epoch {tallest[1]} of {tallest[2]}",
        change=changes.clip(group),
        sure=0.95,
        strength=min(1.0, tallest[0] / 3),
    )


def spiked(series: Series) -> list[tuple[int, float]]:
    """The epochs of spikes with their height as a share of what is around them; the beginning has none."""
    values, plain = series.values, series.values.tolist()
    if len(values) < 8 or values.min() <= 0:
        return []
    # Above the epochs before and those after it: a steep beginning is above the latter alone.
    sides = [(plain[max(0, i - 3) : i], plain[i + 1 : i + 4]) for i in range(1, len(plain) - 1)]
    around = np.array([max(median(before), median(after)) for before, after in sides])
    height = values[1:-1] - around
    usual = USUAL * float(np.quantile(np.abs(height), 0.35))
    floor = 0.01 * float(values[0])
    there = (height > SPIKE * np.maximum(around, floor)) & (height > OUTLYING * usual)
    return [(series.epochs[i + 1], float(height[i] / max(around[i], floor))) for i in np.flatnonzero(there).tolist()]


def gradients(group: Group) -> Finding | None:
    """The norm of the gradients grows over the run, where it is logged (which clipping does)."""
    there = [course for course in group.courses if len(course.norm) >= 6]
    ratios = [_grown(course.norm.values) for course in there]
    sick = [course for course, ratio in zip(there, ratios, strict=True) if ratio >= GROWTH]
    norms = [course.norm.values for course in there]
    z = trend(norms)
    if not sick or len(sick) * 2 <= len(group.courses) or z < SURE or rising(norms) < 0.75:
        return None
    first, last = _thirds([course.norm.values for course in sick])
    return found(
        Disease.GRADIENTS,
        level=group.label,
        trials=[course.id for course in sick],
        of=group.size,
        evidence=f"the norm of the gradients grows from {changes.short(first)} in the first third of the epochs to "
        f"{changes.short(last)} in the last{_finals(len(sick), group)}",
        change=changes.rate(group, 1 / 3),
        sure=1 - chance(z),
        strength=min(1.0, float(np.median(ratios)) / 10),
    )


def _grown(values: Array) -> float:
    first, last = _thirds([values])
    return last / first if first > 0 else 0.0


def _thirds(series: Sequence[Array]) -> tuple[float, float]:
    """The medians of the first and of the last third, over several runs."""
    first = [middle(values[: len(values) // 3]) for values in series]
    last = [middle(values[-(len(values) // 3) :]) for values in series]
    return float(np.median(first)), float(np.median(last))


def _finals(count: int, group: Group) -> str:
    return "" if group.size == 1 else f" in {count} of {group.size} finals"
