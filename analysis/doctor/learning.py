"""Whether a level learns: not at all, not what validation asks, too much of the training set, or not to its end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from analysis.doctor import changes
from analysis.doctor.course import Array, Course, Group, Series, middle
from analysis.doctor.finding import Disease, Finding, found
from analysis.doctor.trend import SURE, chance, noise, rising, trend

FLAT = 0.05
"""A loss that falls by less than this share of its first value has made no progress."""

FALLEN = 0.2
"""A training loss that falls by this share has been learned."""

GAP = 2.0
"""Validation is left behind where its loss is at least so many times the training loss."""

RISE = 0.1
"""Validation loss above its best by this share is worth a finding."""

NOISES = 4.0
"""… and above it by so many sd of one epoch's ups and downs: the best of many epochs lies below the others by chance."""

GAIN = 0.05
"""What the last epochs take off the validation loss where more of them are worth trying."""

MOST = 0.75
"""The share of the runs that must go the same way: epochs of one run are not independent, runs are."""


def progress(series: Series) -> float | None:
    """The share of its first value by which a loss has fallen in its last third; None where that cannot be said."""
    if len(series) < 3 or series.values[0] <= 0:
        return None
    return float(1 - middle(series.last()) / series.values[0])


def no_progress(group: Group) -> Finding | None:
    """Training and validation loss stay where the first epoch left them, within the noise.

    The first epoch's training loss is the mean over it: a run that learns all in one epoch falls below it in the next.
    """
    known = [course for course in group.courses if progress(course.train) is not None]
    if not known or not _flat(known):
        return None
    flat = [course for course in known if (progress(course.train) or 0.0) < 2 * FLAT]
    first, last = (
        float(np.median(v)) for v in ([c.train.values[0] for c in flat], [np.median(c.train.last()) for c in flat])
    )
    z = trend([course.train.values for course in flat])
    same = [
        course for course in flat if len(course.goal) > 2 and bool((course.goal.values == course.goal.values[0]).all())
    ]
    metric = group.question.goal.metric
    still = f"; {metric} is the same in every epoch, as of one answer to everything" if len(same) == len(flat) else ""
    epochs = max(course.train.epochs[-1] for course in flat)
    wild = float(np.median([noise(course.train.values) / abs(course.train.values[0]) for course in flat]))
    return found(
        Disease.NO_PROGRESS,
        level=group.label,
        trials=[course.id for course in flat],
        of=group.size,
        evidence=f"training loss {changes.short(first)} in epoch 1 and {changes.short(last)} in the last third of {epochs} "
        f"epochs, a change of {100 * (last / first - 1):+.1f} %{_of(len(flat), group)}{still}",
        # What creeps downwards, or does not move at all, is too slow; what is thrown about is too fast.
        change=changes.rate(group, 10.0 if z <= -SURE or wild < 0.002 else 0.1),
        sure=0.95,
    )


def _flat(courses: Sequence[Course]) -> bool:
    """True where the median run, and surely so, has learned nothing; noise counts less where there are more of them."""
    made = np.array([progress(course.train) for course in courses], dtype=np.float64)
    doubt = np.array([2 * noise(course.train.values) / course.train.values[0] for course in courses])
    seen = [one for course in courses if (one := progress(course.val)) is not None]
    usual = middle(made)
    return (
        abs(usual) < FLAT
        and usual + middle(doubt) / len(courses) ** 0.5 < 2 * FLAT
        and (not seen or middle(np.array(seen)) < FLAT)
    )


def overfitting(group: Group) -> Finding | None:
    """Validation loss rises from its best epoch, beyond its noise, while training loss goes on falling.

    The trend of the epochs after the best is tested: given that they lie above it, their order says nothing where there is none.
    """
    sick, after = [], []
    for course in group.courses:
        if len(course.val) < 4:
            continue
        best = int(np.argmin(course.val.values))
        tail = course.val.values[best + 1 :]
        after.append(tail)
        if _risen(course, best, tail):
            sick.append((course, best))
    z = trend(after)
    if len(sick) * 2 <= len(group.courses) or z < SURE or rising(after) < MOST:
        return None
    at = [course.val.epochs[best] for course, best in sick]
    low, high = _medians([(course.val.values[best], middle(course.val.last())) for course, best in sick])
    before, now = _medians(
        [(_near(course.train, epoch), course.train.values[-1]) for (course, _), epoch in zip(sick, at, strict=True)]
    )
    last = max(course.val.epochs[-1] for course, _ in sick)
    return found(
        Disease.OVERFITTING,
        level=group.label,
        trials=[course.id for course, _ in sick],
        of=group.size,
        evidence=f"validation loss rises from {changes.short(low)} at epoch {int(np.median(at))} to {changes.short(high)} "
        f"towards epoch {last}, while training loss falls from {changes.short(before)} to {changes.short(now)}"
        f"{_of(len(sick), group)}",
        change=changes.regularise(group),
        sure=1 - chance(z),
        strength=high / low - 1 if low > 0 else 0.5,
    )


def _risen(course: Course, best: int, tail: Array) -> bool:
    """True where the last third of the epochs lies above the best by enough, and training loss fell meanwhile."""
    if len(tail) < 2 or len(course.train) < 2:
        return False
    low, end = course.val.values[best], middle(tail[-max(1, len(tail) // 2) :])
    scale = abs(low) if low > 0 else abs(course.val.values[0] - low)
    fell = course.train.values[-1] < _near(course.train, course.val.epochs[best])
    return bool(fell and end - low > max(RISE * scale, NOISES * noise(course.val.values)))


def apart(group: Group) -> Finding | None:
    """Training loss falls far, and validation loss is no better than after the first epoch from beginning to end."""
    sick = []
    for course in group.courses:
        made = progress(course.train)
        if made is None or made < FALLEN or len(course.val) < 3 or course.val.values[0] <= 0:
            continue
        best = float(course.val.values.min())
        beaten = 1 - best / course.val.values[0]
        if beaten < FLAT + 2 * noise(course.val.values) / course.val.values[0] and best > GAP * float(
            middle(course.train.last())
        ):
            sick.append(course)
    if not sick or len(sick) * 2 <= len(group.courses):
        return None
    first, best = _medians([(course.val.values[0], course.val.values.min()) for course in sick])
    begun, end = _medians([(course.train.values[0], middle(course.train.last())) for course in sick])
    sampling = group.settings.get("sampling")
    return found(
        Disease.APART,
        level=group.label,
        trials=[course.id for course in sick],
        of=group.size,
        evidence=f"training loss falls from {changes.short(begun)} to {changes.short(end)}, validation loss never below "
        f"{changes.short(best)}, from {changes.short(first)} after epoch 1{_of(len(sick), group)}: "
        "what is learned is not what is asked",
        change=f"sampling={sampling}() -> None" if not changes.off(sampling) else changes.regularise(group),
        sure=0.9,
    )


def too_short(group: Group) -> Finding | None:
    """Validation still improves when the epochs are over, in the loss by enough and in the goal beyond chance."""
    whole = [course for course in group.courses if len(course.val) >= 4 and _to_the_end(course, group)]
    if not whole or len(whole) * 2 <= len(group.courses):
        return None
    losses = [course.val.values[-_window(course.val) :] for course in whole]
    goals = [course.goal.values[-_window(course.goal) :] for course in whole]
    z = -trend(losses)
    late = [(course, taken) for course in whole if (taken := _taken(course.val)) is not None]
    if (
        z < SURE
        or trend(goals) < 1.64
        or rising([-one for one in losses]) < MOST
        or len(late) * 2 <= len(group.courses)
    ):
        return None
    last = max(course.val.epochs[-1] for course, _ in late)
    part = late[0][1].epochs
    before, now = _medians([(taken.before, taken.now) for _, taken in late if taken.epochs == part])
    return found(
        Disease.SHORT,
        level=group.label,
        trials=[course.id for course, _ in late],
        of=group.size,
        evidence=f"validation loss still falls when the {last} epochs are over: the last "
        f"{f'{part} ' if part > 1 else ''}of them took it from {changes.short(before)} to {changes.short(now)}"
        f"{_of(len(late), group)}",
        change=changes.longer(group),
        sure=1 - chance(z),
        strength=2 * (1 - now / before),
    )


def _to_the_end(course: Course, group: Group) -> bool:
    """True for a run that used all of its epochs."""
    planned = changes.number(group, "epochs")
    return planned is None or (bool(course.rows) and int(course.rows[-1]["epoch"]) >= planned)


def _window(series: Series) -> int:
    return max(4, len(series) // 3)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Taken:
    """What the last ``epochs`` take off a loss."""

    epochs: int
    before: float
    now: float

    @property
    def share(self) -> float:
        """Of the loss before."""
        return 1 - self.now / self.before if self.before > 0 else 0.0


def _taken(series: Series) -> _Taken | None:
    """What the last epochs take off a loss where that is enough: the last fifth, else the last third if the fall goes on.

    Of few epochs a fifth is one, and a loss that falls evenly loses little in it. A fall goes on where the last third takes off at
    least half of what the third before took.
    """
    values, fifth, third = series.values, max(1, len(series) // 5), max(2, len(series) // 3)
    taken = _Taken(epochs=fifth, before=float(values[-2 * fifth : -fifth].mean()), now=float(values[-fifth:].mean()))
    if taken.share > GAIN:
        return taken
    if len(values) <= 2 * third:
        return None
    first, before, now = (float(values[-1 - back]) for back in (2 * third, third, 0))
    taken = _Taken(epochs=third, before=before, now=now)
    return taken if taken.share > GAIN and first > before and before - now >= 0.5 * (first - before) else None


def _near(series: Series, epoch: int) -> float:
    """The value at an epoch, or the last before it."""
    there = series.until(epoch)
    return float(there[-1] if len(there) else series.values[0])


def _medians(pairs: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """The medians of the first and of the second values."""
    first, second = np.median(np.array(pairs, dtype=np.float64), axis=0)
    return float(first), float(second)


def _of(count: int, group: Group) -> str:
    """In how many of the finals, where there are several."""
    return "" if group.size == 1 else f" (medians; {count} of {group.size} finals)"
