"""Whether a plain value of a file can stand where it does, by the types that shipped parts declare."""

from __future__ import annotations

import sys
from contextlib import suppress
from types import NoneType, SimpleNamespace, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints


def declared(kind: type) -> dict[str, Any]:
    """The types of a part's settings, by name; without those that exist only while types are checked."""
    found: dict[str, Any] = {}
    for name, text in kind.__annotations__.items():
        with suppress(NameError, TypeError):
            found |= get_type_hints(SimpleNamespace(__annotations__={name: text}), vars(sys.modules[kind.__module__]))
    return found


def fits(value: object, hint: Any) -> bool:
    """Whether None, a truth value, a number, a text or a tuple of these may be what ``hint`` says; of anything else it may.

    Whole numbers are numbers, truth values are none.
    """
    origin, inner = get_origin(hint), get_args(hint)
    if hint in (Any, object) or isinstance(hint, TypeVar):
        return True
    if origin in (Union, UnionType):
        return any(fits(value, one) for one in inner)
    if origin is Literal:
        return value in inner
    if isinstance(value, tuple):
        if origin is not tuple:
            return hint not in (bool, int, float, str, NoneType)
        each = inner[:1] * len(value) if inner[1:] == (...,) else inner
        return len(each) == len(value) and all(map(fits, value, each))
    if type(value) is int:
        return hint in (int, float)
    if value is None or isinstance(value, bool | float | str):
        return hint is type(value)
    return True


def written(hint: Any) -> str:
    """A type for a person: ``int or Seeds``, ``None or Schedule``."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return " or ".join(dict.fromkeys(map(written, inner)))
    if origin is Literal:
        return " or ".join(map(repr, inner))
    if origin is tuple:
        return f"a list of {written(inner[0])}" if inner[1:] == (...,) else f"a list of {len(inner)}"
    name = getattr(hint, "__name__", str(hint))
    return {"NoneType": "null", "Callable": "a function"}.get(name, name)
