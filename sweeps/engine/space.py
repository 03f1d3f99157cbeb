"""Holes: the places in a recipe that a sweep fills."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, TypeVar, cast

from trainables.describe import Scalar, default, join, label, text

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Each:
    """A compared factor: every level gets a search and finals of its own."""

    options: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Choice:
    """One of several values, searched."""

    options: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Uniform:
    """A number between two ends, searched; evenly, or evenly in its logarithm."""

    low: float
    high: float
    log: bool = False


@dataclass(frozen=True, slots=True)
class IntRange:
    """A whole number between two ends, both included, searched."""

    low: int
    high: int
    log: bool = False


Hole = Each | Choice | Uniform | IntRange
Path = str
"""The dotted place of a hole in the recipe, such as ``optimizer.lr`` or ``model.widths.0``."""

Filler = Callable[[Path, Hole], Scalar]
"""Asked for what fills a hole: the label of an option, or a number."""


def each(*levels: T) -> T:
    """Compare these levels: each is tuned by its own search, then all meet in finals on the same fresh seeds."""
    return cast(T, Each(levels))


def choice(*options: T) -> T:
    """Search over these options."""
    return cast(T, Choice(options))


def uniform(low: float, high: float) -> float:
    """Search between ``low`` and ``high``, evenly."""
    return cast(float, Uniform(low, high))


def log_uniform(low: float, high: float) -> float:
    """Search between ``low`` and ``high``, evenly in the logarithm."""
    return cast(float, Uniform(low, high, log=True))


def int_range(low: int, high: int, *, log: bool = False) -> int:
    """Search over the whole numbers from ``low`` to ``high``, both included."""
    return cast(int, IntRange(low, high, log))


def name(option: Any) -> Scalar:
    """The label of an option: what stands in the ledger and on the page. Holes inside a part are left out of it."""
    return label(_without_holes(option)) if not isinstance(option, Hole) else text(option)


def describe(hole: Hole) -> str:
    """A hole as the sweep's file has it."""
    match hole:
        case Each(options):
            return f"each({', '.join(str(name(option)) for option in options)})"
        case Choice(options):
            return f"choice({', '.join(str(name(option)) for option in options)})"
        case Uniform(low, high, log):
            return f"{'log_uniform' if log else 'uniform'}({low:g}, {high:g})"
        case IntRange(low, high, log):
            return f"int_range({low}, {high}{', log=True' if log else ''})"


def written(value: Any) -> str:
    """A configuration as short text, its holes as the sweep's file has them."""
    return text(value, lambda item: describe(item) if isinstance(item, Hole) else None)


def settings(value: Any, path: Path = "") -> Iterator[tuple[Path, Scalar]]:
    """Every setting by its dotted path: the class of a part at the part's own path, a hole as it is described."""
    if isinstance(value, Hole):
        yield path, describe(value)
    elif is_dataclass(value) and not isinstance(value, type):
        if path:
            yield path, type(value).__name__
        for field in fields(value):
            if field.init:
                yield from settings(getattr(value, field.name), join(path, field.name))
    else:
        yield path, label(value) if not isinstance(value, tuple) else written(value)


def conflicts(path: Path, hole: Hole) -> Iterator[str]:
    """What is wrong with a hole itself."""
    match hole:
        case Each(options) | Choice(options):
            kind = "each" if isinstance(hole, Each) else "choice"
            names = [name(option) for option in options]
            if not options:
                yield f"{path}: {kind}() is empty; name at least one value"
            doubled = sorted({str(n) for n in names if names.count(n) > 1})
            if doubled:
                yield f"{path}: {kind} names {', '.join(doubled)} more than once; every value must be told apart by its settings"
        case Uniform(low, high, log):
            if not (math.isfinite(low) and math.isfinite(high) and low < high):
                yield f"{path}: {describe(hole)} is empty; the first end must be below the second, both finite"
            elif log and low <= 0:
                yield f"{path}: {describe(hole)} starts at {low:g}; a logarithm needs an end above 0"
        case IntRange(low, high, log):
            if low > high:
                yield f"{path}: {describe(hole)} is empty; the first end must not be above the second"
            elif log and low < 1:
                yield f"{path}: {describe(hole)} starts at {low}; a logarithm needs an end from 1"


def resolve(value: T, filler: Filler, path: Path = "") -> T:
    """The same configuration with every hole filled, in the order of its fields.

    A hole inside an option of another hole is asked for only when that option was taken, so conditional spaces need no words of
    their own. Values without holes come back as they are.
    """
    return cast(T, _resolve(value, filler, path))


def _resolve(value: Any, filler: Filler, path: Path) -> Any:
    if isinstance(value, Each | Choice):
        return _resolve(option(value, filler(path, value)), filler, path)
    if isinstance(value, Uniform | IntRange):
        return filler(path, value)
    if is_dataclass(value) and not isinstance(value, type):
        changed = {}
        for field in fields(value):
            if field.init:
                old = getattr(value, field.name)
                new = _resolve(old, filler, join(path, field.name))
                if new is not old:
                    changed[field.name] = new
        return replace(value, **changed) if changed else value
    if isinstance(value, tuple):
        items = tuple(_resolve(item, filler, join(path, str(index))) for index, item in enumerate(value))
        return items if any(new is not old for new, old in zip(items, value, strict=True)) else value
    return value


def settled(value: T, level: Mapping[Path, Scalar], path: Path = "") -> T:
    """The same configuration with its compared factors filled from the level, its searched holes left as they are."""
    return cast(T, _settled(value, level, path))


def _settled(value: Any, level: Mapping[Path, Scalar], path: Path) -> Any:
    if isinstance(value, Each):
        return _settled(option(value, level[path]), level, path)
    if is_dataclass(value) and not isinstance(value, type | Hole):
        parts = {field.name: getattr(value, field.name) for field in fields(value) if field.init}
        filled = {name: _settled(part, level, join(path, name)) for name, part in parts.items()}
        changed = {name: part for name, part in filled.items() if part is not parts[name]}
        return replace(value, **changed) if changed else value
    if isinstance(value, tuple):
        items = tuple(_settled(item, level, join(path, str(index))) for index, item in enumerate(value))
        return items if any(new is not old for new, old in zip(items, value, strict=True)) else value
    return value


def option(hole: Each | Choice, wanted: Scalar) -> Any:
    """The option with this label. Raises KeyError when there is none."""
    for candidate in hole.options:
        if name(candidate) == wanted:
            return candidate
    raise KeyError(f"{wanted!r} is none of {', '.join(str(name(candidate)) for candidate in hole.options)}")


def candidates(value: Any) -> tuple[Any, ...]:
    """What may come to stand where a value stands: the options of a hole, nothing yet for a range, else the value itself."""
    if isinstance(value, Each | Choice):
        return tuple(inner for candidate in value.options for inner in candidates(candidate))
    return () if isinstance(value, Hole) else (value,)


def holes(value: Any, path: Path = "") -> Iterator[tuple[Path, Hole]]:
    """Every hole, those inside options too, by its path; a path can come up more than once."""
    if isinstance(value, Each | Choice):
        yield path, value
        for candidate in value.options:
            yield from holes(candidate, path)
    elif isinstance(value, Uniform | IntRange):
        yield path, value
    elif is_dataclass(value) and not isinstance(value, type):
        for field in fields(value):
            yield from holes(getattr(value, field.name), join(path, field.name))
    elif isinstance(value, tuple):
        for index, item in enumerate(value):
            yield from holes(item, join(path, str(index)))


def levels(*values: tuple[Any, Path]) -> list[dict[Path, Scalar]]:
    """All combinations of the compared factors, in the order in which the sweep names them; one empty level without factors.

    Each value comes with the path that its own factors' paths begin with.
    """
    found: list[dict[Path, Scalar]] = []
    pending: list[dict[Path, Scalar]] = [{}]
    while pending:
        chosen = pending.pop(0)
        open_factor = next(filter(None, (_first_open(value, chosen, path) for value, path in values)), None)
        if open_factor is None:
            found.append(chosen)
        else:
            path, factor = open_factor
            pending = [chosen | {path: name(candidate)} for candidate in factor.options] + pending
    return found


def _first_open(value: Any, chosen: Mapping[Path, Scalar], path: Path = "") -> tuple[Path, Each] | None:
    """The first factor that ``chosen`` does not settle yet."""
    if isinstance(value, Each):
        return (path, value) if path not in chosen else _first_open(option(value, chosen[path]), chosen, path)
    if is_dataclass(value) and not isinstance(value, type) and not isinstance(value, Hole):
        inner = [(getattr(value, field.name), join(path, field.name)) for field in fields(value)]
    elif isinstance(value, tuple):
        inner = [(item, join(path, str(index))) for index, item in enumerate(value)]
    else:
        return None
    for item, place in inner:
        first = _first_open(item, chosen, place)
        if first is not None:
            return first
    return None


def _without_holes(value: Any) -> Any:
    """A part with each hole at its field's default, so that labels name what the part fixes."""
    if is_dataclass(value) and not isinstance(value, type):
        plain = {
            field.name: default(field)
            for field in fields(value)
            if field.init and isinstance(getattr(value, field.name), Hole)
        }
        return replace(value, **plain) if plain else value
    return value
