"""What the seeds of finals draw: the same for all levels, or a factor that is compared."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sweeps.engine import space
from trainables.describe import Scalar

DRAWN = ("init", "order", "split")
"""What a final's seed can draw."""

VARY = "vary"
"""The path of what the seeds draw, where that is compared."""

AND = " + "
"""Between the names of a level that draws several."""


def drawn(vary: tuple[str, ...], level: Mapping[str, Scalar] | None = None) -> tuple[str, ...]:
    """What the finals of a level draw, in the order of ``DRAWN``; without a level, what those of any do."""
    options = _options(vary)
    if level is not None and VARY in level:
        options = [str(level[VARY]).split(AND)]
    return tuple(name for name in DRAWN if any(name in option for option in options))


def named(vary: Any) -> Any:
    """The compared factor with its options as the ledger names them, ``init``, ``init + order``; else as it is."""
    return space.Each(tuple(_name(option) for option in vary.options)) if isinstance(vary, space.Each) else vary


def conflicts(vary: Any, search: Any) -> Iterator[str]:
    """What is wrong with it; while anything is, the levels cannot be told."""
    if isinstance(vary, space.Hole) and not isinstance(vary, space.Each):
        yield f"vary is {space.describe(vary)}; what seeds draw is not searched for, compare it by each()"
        return
    texts = [option for option in _options(vary) if not isinstance(option, tuple)]
    if texts:
        names = (texts[0],) if isinstance(texts[0], str) else DRAWN
        yield f"vary has {texts[0]!r} where a tuple of names must be; write {names}"
        return
    unknown = dict.fromkeys(str(name) for option in _options(vary) for name in option if name not in DRAWN)
    if unknown:
        yield f"vary names {', '.join(unknown)}; what a seed can draw is {', '.join(DRAWN)}"
    if any(not option for option in _options(vary)):
        yield "vary is empty: the finals would all be the same run; name at least one of init, order, split"
    if isinstance(vary, space.Each):
        yield from space.conflicts(VARY, named(vary))
        if search is not None:
            yield (
                f"search is {space.written(search)} but vary is compared: each level would be tuned for itself, and their spreads "
                "would be those of different points; name the point in the recipe and take search out"
            )


def _options(vary: Any) -> Sequence[Sequence[str]]:
    return vary.options if isinstance(vary, space.Each) else (vary,)


def _name(option: Sequence[str]) -> str:
    return AND.join(name for name in DRAWN if name in option)
