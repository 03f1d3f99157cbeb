"""Configuration as text and as plain values: for labels, for hashes, for the ledger."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from enum import Enum
from functools import partial
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

Scalar = str | int | float | bool | None


def label(value: Any) -> Scalar:
    """A value as a table shows it: numbers, strings and None as they are, a part as ``SGD(momentum=0.9)``.

    Fields of a part that stand at their defaults are left out, so that the text says what is special about it.
    """
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return text(value)


def text(value: Any, own: Callable[[Any], str | None] = lambda _: None) -> str:
    """A value as short source-like text, without modules and without fields at their defaults.

    ``own`` is asked first for each value inside; what it gives other than None is taken as it is.
    """
    given = own(value)
    if given is not None:
        return given
    if isinstance(value, Enum):
        return str(value.value)
    if is_dataclass(value) and not isinstance(value, type):
        settings = [
            f"{field.name}={text(getattr(value, field.name), own)}"
            for field in fields(value)
            if field.init and not same(getattr(value, field.name), default(field))
        ]
        return f"{type(value).__name__}({', '.join(settings)})" if settings else type(value).__name__
    if isinstance(value, tuple | list):
        inner = ", ".join(text(item, own) for item in value)
        return f"({inner},)" if len(value) == 1 else f"({inner})"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {text(item, own)}" for key, item in value.items()) + "}"
    if isinstance(value, partial):
        settings = [text(item, own) for item in value.args] + [f"{k}={text(v, own)}" for k, v in value.keywords.items()]
        return f"{name_of(value.func)}({', '.join(settings)})"
    if isinstance(value, str):
        return repr(value)
    return name_of(value) if _named(value) or _anonymous(value) else str(value)


def plain(value: Any) -> Any:
    """A value as JSON, complete: equal configurations give equal JSON, and any changed field changes it.

    A dataclass becomes an object whose key ``""`` holds its class. A class or function of the script itself is named without its
    module, since the same file may be run as a script or imported.
    """
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Enum):
        return str(value.value)
    if is_dataclass(value) and not isinstance(value, type):
        return {"": name_of(type(value))} | {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, tuple | list):
        return [plain(item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, partial):
        return {"": name_of(value.func), "args": plain(value.args), "keywords": plain(value.keywords)}
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, set | frozenset):
        return sorted((plain(item) for item in value), key=repr)
    if isinstance(value, FunctionType) and "<" in value.__qualname__:
        return _unnamed_function(value)
    if _named(value):
        return name_of(value)
    if _anonymous(value):
        names = [*getattr(value, "__dict__", ()), *getattr(type(value), "__slots__", ())]
        return {"": name_of(type(value))} | {name: plain(getattr(value, name)) for name in names}
    return repr(value)


def join(path: str, name: str) -> str:
    """A dotted path, one step further."""
    return f"{path}.{name}" if path else name


def _unnamed_function(value: FunctionType) -> dict[str, Any]:
    """A lambda or a function made inside another: its name says little, so its code and what it closes over do."""
    code = value.__code__
    constants = [constant for constant in code.co_consts if not isinstance(constant, CodeType)]
    digest = hashlib.sha256(code.co_code + repr((constants, code.co_names)).encode()).hexdigest()[:12]
    return {
        "": name_of(value),
        "code": digest,
        "cells": [plain(cell.cell_contents) for cell in value.__closure__ or ()],
    }


def _named(value: object) -> bool:
    """True for classes and functions."""
    return isinstance(value, type) or inspect.isroutine(value)


def _anonymous(value: object) -> bool:
    """True for objects whose text is their address, which is another one in every process."""
    return type(value).__repr__ == object.__repr__


def name_of(value: object) -> str:
    """The bare name of a class or function, of any other object its class's; the same whether its file was run or imported."""
    name = getattr(value, "__qualname__", None)
    return name if isinstance(name, str) else type(value).__qualname__


def default(field: Field[Any]) -> Any:
    """What a field holds when it is not named; MISSING when it must be."""
    # By type: a class that travelled by value to another process brings a MISSING of its own.
    if not isinstance(field.default, type(MISSING)):
        return field.default
    factory: Any = field.default_factory
    return MISSING if isinstance(factory, type(MISSING)) else factory()


def same(a: Any, b: Any) -> bool:
    """Equality that takes ``1`` and ``True`` apart."""
    return type(a) is type(b) and bool(a == b)
