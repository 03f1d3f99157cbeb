"""What a sweep's fields hold that is of another kind than they take."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from sweeps.engine import space
from sweeps.engine.vary import VARY
from trainables.misfits import misfits

if TYPE_CHECKING:
    from sweeps.engine.spec import Sweep

VARYING = ("recipe", "search", "early_stop", "resources", VARY)
"""The fields in which holes may stand, or are refused by words of their own."""

WHOLE = ("search", "early_stop", VARY)
"""Those of them in whose own place a hole may stand; in the others it stands further inside."""


def misused(sweep: Sweep) -> Iterator[str]:
    """A sentence for each such value; nothing else can be asked of a sweep that has one."""

    def options(place: str, value: Any) -> Sequence[Any]:
        return space.candidates(value) if place.partition(".")[0] in VARYING else (value,)

    fixed = {field.name: getattr(sweep, field.name) for field in fields(sweep) if field.name not in WHOLE}
    holes = {name: hole for name, hole in fixed.items() if isinstance(hole, space.Hole)}
    for name, hole in holes.items():
        yield f"{name} is {space.describe(hole)}; it is the same for all levels: give one value"
    found = [text for place, text in misfits(sweep, options=options) if place not in (*holes, VARY)]
    ranges = {
        (path, hole): None
        for name in VARYING
        for path, hole in space.holes(getattr(sweep, name), name)
        if isinstance(hole, space.Uniform | space.IntRange)
    }
    found += [text for path, hole in ranges for _, text in misfits(hole, path)]
    # The recipe's own sentences begin with the field too, as its holes do.
    yield from dict.fromkeys(text.removeprefix("recipe.") for text in found)
