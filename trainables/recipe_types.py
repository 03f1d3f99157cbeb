"""Whether a value can stand where it does, by the types that shipped parts declare."""

from __future__ import annotations

import builtins
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import is_dataclass
from functools import cache
from numbers import Integral, Real
from types import NoneType, SimpleNamespace, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

PLAIN = (bool, int, float, str, NoneType)
"""What is no part and holds nothing."""


class _Names(dict[str, Any]):
    """The names of a module; those that exist only while types are checked stand for anything."""

    def __missing__(self, name: str) -> Any:
        return getattr(builtins, name, Any)


@cache
def declared(kind: type) -> dict[str, Any]:
    """The types of a part's settings, by name."""
    names = _Names(vars(sys.modules[kind.__module__]))
    found: dict[str, Any] = {}
    for name, text in kind.__annotations__.items():
        with suppress(
            AttributeError, TypeError
        ):  # a name within a module that is imported only while types are checked
            found |= get_type_hints(SimpleNamespace(__annotations__={name: text}), {}, names)
    return found


def fits(value: object, hint: Any) -> bool:
    """Whether a value may be what ``hint`` says, as far as it can be told: of a part that is asked for by a protocol it is
    known only that it is no plain value, no class and no collection.

    Whole numbers are numbers, truth values are none; numpy's numbers are numbers.
    """
    origin, inner = get_origin(hint), get_args(hint)
    if hint in (Any, object) or isinstance(hint, TypeVar):
        return True
    if origin in (Union, UnionType):
        return any(fits(value, one) for one in inner)
    if origin is Literal:
        return value in inner
    kind = origin or hint
    if kind is Callable:
        # The class of a part is no function: calling it makes a part.
        return callable(value) and not (isinstance(value, type) and is_dataclass(value))
    if isinstance(value, tuple | list) and origin is tuple:
        each = inner[:1] * len(value) if inner[1:] == (...,) else inner
        return len(each) == len(value) and all(map(fits, value, each))
    if kind in PLAIN or isinstance(value, (*PLAIN, Real)):
        return _plainly(value, kind)
    return _whole(value, kind)


def _plainly(value: object, kind: Any) -> bool:
    """The same where either is plain: a truth value, a number, a text, None."""
    if isinstance(value, bool | None):
        return kind is type(value)
    if isinstance(value, Integral):
        return kind in (int, float)
    if isinstance(value, Real):
        return kind is float
    return isinstance(value, str) and kind in type(value).__mro__


def _whole(value: object, kind: Any) -> bool:
    """The same where neither is plain."""
    if not isinstance(kind, type):
        return True
    if kind is tuple or issubclass(kind, Mapping):
        return isinstance(value, kind) or not (isinstance(value, dict | set) or callable(value) or is_dataclass(value))
    protocol = getattr(kind, "_is_protocol", False)
    if is_dataclass(kind) and not protocol:
        return isinstance(value, kind)
    if not protocol:
        return True
    if isinstance(value, type | tuple | list | dict | set | frozenset | bytes):
        return False
    return not getattr(kind, "_is_runtime_protocol", False) or isinstance(value, kind)


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
