"""What the fields of a part hold that is of another kind than they declare."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import MISSING, Field, fields, is_dataclass, replace
from numbers import Integral, Real
from types import UnionType
from typing import Any, ClassVar, Literal, Protocol, TypeVar, Union, cast, get_args, get_origin, runtime_checkable

from trainables.describe import default, join, text
from trainables.recipe_types import declared, fits

T = TypeVar("T")

ROOMS = ("trainables", "sweeps")
"""Whose parts are what they declare; one's own may declare what they like."""

LONGEST = 80
"""Letters of a value that are shown."""


@runtime_checkable
class Ruled(Protocol):
    """A part that has words of its own for some of its fields: rule and way out, as they follow the value; {kind} is its class."""

    RULES: ClassVar[Mapping[str, str]]


def itself(path: str, value: Any) -> Sequence[Any]:  # noqa: ARG001
    """Where no value stands for others."""
    return (value,)


def misfits(
    part: Any, path: str = "", options: Callable[[str, Any], Sequence[Any]] = itself
) -> Iterator[tuple[str, str]]:
    """Each value of the wrong kind in a shipped part and in what it holds: the place of its field, and the sentence about it.

    ``options`` says what may stand in a field in the end, by its place and what stands there now.
    """
    if not is_dataclass(part) or type(part).__module__.partition(".")[0] not in ROOMS:
        return
    own: type = type(part)
    hints = declared(own)
    rules: Mapping[str, str] = part.RULES if isinstance(part, Ruled) else {}
    for field in fields(part):
        hint, place = _loosened(hints.get(field.name, Any)), join(path, field.name)
        for value in options(place, getattr(part, field.name)) if field.init else ():
            if _fits(value, hint, place, options):
                yield from misfits(value, place, options)
            elif isinstance(value, type):
                yield (
                    place,
                    f"{place} is the class {value.__name__}, which has no settings yet; write {field.name}={made(value)}",
                )
            else:
                rule = rules.get(field.name) or _rule(field, hint, value)
                yield place, f"{place} {shown(value)} {rule.replace('{kind}', _article(type(value).__name__))}"


def made(kind: type) -> str:
    """How a part of this class is written."""
    needed = any(p.default is p.empty and p.kind is not p.VAR_KEYWORD for p in _parameters(kind))
    return f"{kind.__name__}({'…' if needed else ''})"


def shown(value: Any) -> str:
    """A value as it is written, cut where it is long."""
    said = text(value) if is_dataclass(value) or inspect.isroutine(value) else repr(value)
    said = " ".join(said.split())
    return said if len(said) <= LONGEST else f"{said[: LONGEST - 1]}…"


def plainly(value: T) -> T:
    """The same with Python's own numbers in place of others, such as numpy's, which have no form in JSON."""
    return cast(T, _plainly(value))


def _plainly(value: Any) -> Any:
    if isinstance(value, bool) or type(value) in (int, float):
        return value
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real):
        return float(value)
    if isinstance(value, tuple):
        items = tuple(map(_plainly, value))
        return items if any(new is not old for new, old in zip(items, value, strict=True)) else value
    if is_dataclass(value) and not isinstance(value, type):
        held = {field.name: getattr(value, field.name) for field in fields(value) if field.init}
        changed = {name: new for name, old in held.items() if (new := _plainly(old)) is not old}
        return replace(value, **changed) if changed else value
    return value


def _parameters(kind: type) -> Sequence[inspect.Parameter]:
    try:
        return list(inspect.signature(kind).parameters.values())
    except (TypeError, ValueError):  # a class of an extension may tell nothing of itself
        return []


def _loosened(hint: Any) -> Any:
    """A type without the names that it lists: which there are is said by the part itself."""
    if get_origin(hint) is Literal:
        return type(get_args(hint)[0])
    if get_origin(hint) in (Union, UnionType):
        return Union[tuple(map(_loosened, get_args(hint)))]  # noqa: UP007
    return hint


def _fits(value: Any, hint: Any, path: str, options: Callable[[str, Any], Sequence[Any]]) -> bool:
    """Whether a value fits, whatever comes to stand in its holes; a class is no part."""
    if isinstance(value, tuple):
        return all(fits(tuple(items), hint) for items in _each(value, path, options))
    return fits(value, hint)


def _each(value: tuple[Any, ...], path: str, options: Callable[[str, Any], Sequence[Any]]) -> Iterator[tuple[Any, ...]]:
    """The tuple with what may stand in one place after the other."""
    found = [list(options(path, item)) for item in value]
    usual = tuple(items[0] if items else 0 for items in found)
    yield usual
    for place, items in enumerate(found):
        yield from ((*usual[:place], item, *usual[place + 1 :]) for item in items[1:])


def _rule(field: Field[Any], hint: Any, value: Any) -> str:
    """What may stand there, and how it is written."""
    usual = default(field)
    if isinstance(value, str) and fits(number := _number(value), hint) and number is not None:
        usual = number
    elif isinstance(value, float) and value.is_integer() and fits(int(value), hint):
        usual = int(value)
    way = "" if usual is None or usual is MISSING else f"; write {field.name}={text(usual)}"
    return f"must be {_words(hint)}{way}"


def _number(value: str) -> float | None:
    """The number that a text says."""
    for kind in (int, float):
        try:
            return kind(value)
        except ValueError:
            continue
    return None


def _words(hint: Any) -> str:
    """A type in words."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return " or ".join(dict.fromkeys(map(_words, inner)))
    if origin is tuple:
        return f"a tuple of {WORDS.get(inner[0], (..., _name(inner[0])))[1]}" if inner else "a tuple"
    return WORDS[hint][0] if hint in WORDS else _article(_name(origin or hint))


def _name(kind: Any) -> str:
    name = getattr(kind, "__name__", str(kind))
    return {"Callable": "function", "Mapping": "mapping by name"}.get(name, name)


def _article(name: str) -> str:
    return f"{'an' if name[0] in 'AEIOaeio' else 'a'} {name}"


WORDS: Mapping[Any, tuple[str, str]] = {
    int: ("a whole number", "whole numbers"),
    float: ("a number", "numbers"),
    bool: ("True or False", "truth values"),
    str: ("a text", "texts"),
    type(None): ("None", "None"),
}
