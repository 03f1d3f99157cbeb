"""The largest batch that fits: doubled until memory ends, then closed in on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

CLOSE = 0.06
"""Memory's end is told to this share of it: closer than any estimate needs."""

ASKED, WHOLE = "the largest asked for", "the whole training set"
"""What the largest batch is that is tried, in words."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Tried:
    """One batch that was tried: whether steps with so many samples at once went through, else what was said; and the seconds."""

    batch: int
    fits: bool
    said: str | None = None
    seconds: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class BatchLimit:
    """``batch`` is the largest power of two that fits, 0 where no sample does; ``most`` the largest batch that was seen to fit.

    ``ended`` says that memory ended, so that ``most`` is its end to within ``CLOSE``; else something else ended the search, as
    ``reason`` says. ``tried`` are all attempts in their order.
    """

    batch: int
    most: int
    ended: bool
    reason: str
    tried: tuple[Tried, ...]


def batch_limit(
    attempt: Callable[[int], Tried], *, first: int, largest: int, patience: float, last: str = ASKED
) -> BatchLimit:
    """Double from ``first`` up to ``largest`` or until memory ends, and close in on its end; no attempt follows a slow one.

    An attempt that took longer than ``patience`` seconds is the last one upwards. Where ``first`` does not fit, it is halved.
    ``last`` is what ``largest`` is, in words. Raises ValueError unless 1 <= first and 1 <= largest.
    """
    if first < 1 or largest < 1:
        raise ValueError(f"first {first} and largest {largest} must be whole numbers from 1")
    tried = [attempt(min(first, largest))]
    while tried[-1].fits and tried[-1].batch < largest and tried[-1].seconds <= patience:
        tried.append(attempt(_next(tried[-1].batch, largest)))
    while not tried[-1].fits and tried[-1].batch > 1 and not any(one.fits for one in tried):
        tried.append(attempt(tried[-1].batch // 2))
    if all(one.fits for one in tried):
        return _whole(tried, largest, patience, last)
    while (room := _room(tried)) is not None:
        tried.append(attempt(room))
    most = max((one.batch for one in tried if one.fits), default=0)
    failed = min((one for one in tried if not one.fits), key=lambda one: one.batch)
    said = f" ({failed.said})" if failed.said else ""
    if not most:
        return BatchLimit(batch=0, most=0, ended=True, reason=f"not one sample fits{said}", tried=tuple(tried))
    reason = f"memory ends at {most}: {failed.batch} is too many{said}"
    return BatchLimit(batch=_power(most), most=most, ended=True, reason=reason, tried=tuple(tried))


def _next(batch: int, largest: int) -> int:
    """The next power of two, and ``largest`` itself at the end."""
    return min(2 * _power(batch), largest)


def _power(batch: int) -> int:
    """The largest power of two up to a batch."""
    return 1 << (batch.bit_length() - 1)


def _whole(tried: list[Tried], largest: int, patience: float, named: str) -> BatchLimit:
    """The limit where everything fitted that was tried."""
    last = tried[-1]
    if last.batch >= largest:
        reason = f"{named}, {largest}, fits"
    else:
        reason = (
            f"{last.batch} fits, and took {last.seconds:.0f} s: more than {patience:g} s, so nothing larger was tried"
        )
    return BatchLimit(batch=_power(last.batch), most=last.batch, ended=False, reason=reason, tried=tuple(tried))


def _room(tried: list[Tried]) -> int | None:
    """The batch in the middle between the largest that fits and the smallest that does not; None once they are close."""
    fits = max((one.batch for one in tried if one.fits), default=0)
    fails = min(one.batch for one in tried if not one.fits)
    return (fits + fails) // 2 if fails - fits > max(1, CLOSE * fits) and fits else None
