"""Configuration as plain values that name their classes, and back: what the file of a recipe holds.

A part is an object with its ``class`` and its settings; tuples are lists. What plain values do not have is an object with one of
the keys ``enum``, ``reference``, ``partial``, ``mapping``, ``list``, ``set``, ``frozenset``, ``path``, ``float``.
"""

from __future__ import annotations

import importlib
import inspect
import math
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from difflib import get_close_matches
from enum import Enum
from functools import partial
from pathlib import Path, PurePath
from types import ModuleType
from typing import Any

from trainables.describe import default, join
from trainables.errors import ConflictError
from trainables.recipe_types import declared, fits, written

SHIPPED = ("trainables", "trainables.models")
"""Where a class is found that is written by its bare name."""

_SECRET_NAME = re.compile(r"passw(or)?d|secret|credential|(api|access)_?key|(api|access|auth)_token", re.IGNORECASE)
_SECRET_TEXT = re.compile(r"://[^/\s@]*:[^/\s@]+@")
_BAD = object()
"""Stands for a value that cannot be read."""


def encoded(value: Any) -> Any:
    """A configuration as None, booleans, numbers, texts, lists and objects, complete but for what is None by default.

    Raises ConflictError that names everything which cannot be written: functions and classes without a name of their own, objects
    that are no dataclasses, credentials.
    """
    said: list[str] = []
    found = _plain(value, "", said)
    if said:
        raise ConflictError("this recipe cannot be written as a file", said)
    return found


def decoded(data: Any, modules: Sequence[str] = ()) -> Any:
    """The configuration that ``encoded`` wrote, or somebody by hand; settings that are left out stand at their defaults.

    Nothing is called but dataclasses, and nothing imported but ``trainables`` and the ``modules`` named here, each with what lies
    below it. Raises ConflictError with everything that is wrong: classes and settings that are not known, missing ones, others'
    modules.
    """
    said: list[str] = []
    found = _value(data, "", ("trainables", *modules), said)
    if said:
        raise ConflictError("this recipe cannot be read", said)
    return found


def modules(value: Any) -> list[str]:
    """The modules that reading a value from its file needs beside ``trainables``; what cannot be written is left out."""
    found = (name.partition(":")[0] for name in _names(_plain(value, "", [])) if ":" in name)
    return [name for name in dict.fromkeys(found) if not _within(name, ("trainables",))]


def _plain(value: Any, path: str, said: list[str]) -> Any:
    """What a value is written as; what cannot be written is said by its path."""
    if isinstance(value, Enum):
        return {"enum": _written(type(value), path, said), "member": value.name}
    if value is None or type(value) in (bool, int):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else {"float": str(float(value))}
    if type(value) is str:
        if _SECRET_TEXT.search(value) or (value and _SECRET_NAME.search(path.rpartition(".")[2])):
            said.append(f"{path} is a credential; let the part read it from the environment when it is used")
        return value
    if is_dataclass(value) and not isinstance(value, type):
        return {"class": _written(type(value), path, said), **_settings(value, path, said)}
    if isinstance(value, PurePath):
        return {"path": str(value)}
    if isinstance(value, partial):
        return {
            "partial": _written(value.func, path, said),
            "args": [_plain(item, f"{path}({place})", said) for place, item in enumerate(value.args)],
            "keywords": {name: _plain(item, join(path, name), said) for name, item in value.keywords.items()},
        }
    if isinstance(value, type) or inspect.isroutine(value):
        return {"reference": _written(value, path, said)}
    return _collected(value, path, said)


def _collected(value: Any, path: str, said: list[str]) -> Any:
    """What holds other values."""
    if type(value) is tuple:
        return [_plain(item, join(path, str(place)), said) for place, item in enumerate(value)]
    if type(value) is list:
        return {"list": [_plain(item, join(path, str(place)), said) for place, item in enumerate(value)]}
    if type(value) in (set, frozenset):
        return {type(value).__name__: [_plain(item, path, said) for item in sorted(value, key=repr)]}
    if type(value) is dict:
        return {"mapping": [[_plain(k, path, said), _plain(v, join(path, str(k)), said)] for k, v in value.items()]}
    said.append(
        f"{path} is a {type(value).__module__}.{type(value).__qualname__}, which has no form in a file; "
        "give numbers, texts, tuples of them, a frozen dataclass, or a function of a module"
    )
    return None


def _settings(value: Any, path: str, said: list[str]) -> dict[str, Any]:
    """The settings of a part but those that are None by default: what is off stays off."""
    held = [(field, getattr(value, field.name)) for field in fields(value) if field.init]
    return {
        field.name: _plain(item, join(path, field.name), said)
        for field, item in held
        if item is not None or default(field) is not None
    }


def _written(value: Any, path: str, said: list[str]) -> str:
    """The name by which a class or function is found again: bare where it is shipped, else ``module:name``."""
    name, module = getattr(value, "__qualname__", type(value).__qualname__), _module_of(value)
    for shipped in SHIPPED:
        if name in _public(shipped) and getattr(importlib.import_module(shipped), name) is value:
            return str(name)
    if "<" in name:
        said.append(f"{path} is {name}, which is made inside a function; write it at the top of a module")
    elif module is None or not _there(module, name, value):
        where = "an interactive session" if module is None else module
        said.append(f"{path} is {name} of {where}, which is not found there again; write it at the top of a module")
    return f"{module}:{name}"


def _there(module: str, name: str, value: Any) -> bool:
    """True where a name in a module stands for this value."""
    try:
        return _attribute(module, name) is value
    except ImportError:
        return False


def _value(data: Any, path: str, allowed: Sequence[str], said: list[str]) -> Any:
    """What was written; ``_BAD`` where it cannot be read, which has been said."""
    if data is None or isinstance(data, bool | int | float | str):
        return data
    if isinstance(data, list):
        return _all(data, path, allowed, said, tuple)
    if not isinstance(data, Mapping):
        return _refused(said, f"{path} is a {type(data).__name__}; give a number, a text, a list or an object")
    if "class" in data:
        return _part(data, path, allowed, said)
    match sorted(data):
        case ["enum", "member"]:
            return _member(data, path, allowed, said)
        case ["reference"]:
            return _referred(data["reference"], path, allowed, said)
        case ["args", "keywords", "partial"]:
            return _partial(data, path, allowed, said)
        case ["path"]:
            return Path(str(data["path"]))
        case ["float"] if data["float"] in ("inf", "-inf", "nan"):
            return float(data["float"])
        case ["list" | "set" | "frozenset" as kind] if isinstance(data[kind], list):
            return _all(data[kind], path, allowed, said, {"list": list, "set": set, "frozenset": frozenset}[kind])
        case ["mapping"] if isinstance(data["mapping"], list) and all(_pair(item) for item in data["mapping"]):
            return _all([[key, item] for key, item in data["mapping"]], path, allowed, said, dict)
    named = ", ".join(map(str, data)) or "nothing"
    return _refused(said, f"{path} holds {named}, but not its class; begin it with, say, class: AdamW")


def _part(data: Mapping[Any, Any], path: str, allowed: Sequence[str], said: list[str]) -> Any:
    """A dataclass with its settings."""
    found = _referred(data["class"], path, allowed, said)
    if found is _BAD:
        return _BAD
    if not (isinstance(found, type) and is_dataclass(found)):
        return _refused(
            said, f"{path}: {data['class']} is no dataclass, and nothing else is called while a file is read"
        )
    known = {field.name: field for field in fields(found) if field.init}
    settings = {str(name): item for name, item in data.items() if name != "class"}
    before = len(said)
    for name in settings.keys() - known.keys():
        near = get_close_matches(name, known, 1)
        has = f"did you mean {near[0]}?" if near else f"it has {', '.join(known) or 'none'}"
        said.append(f"{_here(path)}{found.__qualname__} has no setting {name!r}; {has}")
    for name, field in known.items():
        if name not in settings and default(field) is MISSING:
            said.append(f"{_here(path)}{found.__qualname__} needs {name}; name it")
    read = {n: _value(item, join(path, n), allowed, said) for n, item in settings.items() if n in known}
    # One's own parts may declare what they like; what is shipped is what it says.
    hints = declared(found) if _within(found.__module__, ("trainables",)) else {}
    for name, item in read.items():
        if item is not _BAD and name in hints and not fits(item, hints[name]):
            said.append(f"{join(path, name)} {item!r} stands where {written(hints[name])} belongs")
    if len(said) > before:
        return _BAD
    try:
        return found(**read)
    except (TypeError, ValueError, ConflictError) as error:
        return _refused(said, f"{_here(path)}{found.__qualname__} refuses these settings: {error}")


def _partial(data: Mapping[str, Any], path: str, allowed: Sequence[str], said: list[str]) -> Any:
    """A function with some of its arguments; it is not called."""
    if not isinstance(data["args"], list) or not isinstance(data["keywords"], Mapping):
        return _refused(said, f"{path}: a partial has args as a list and keywords as an object")
    function = _referred(data["partial"], path, allowed, said)
    args = _all(data["args"], path, allowed, said, tuple)
    keywords = {
        str(name): _value(item, join(path, str(name)), allowed, said) for name, item in data["keywords"].items()
    }
    if any(item is _BAD for item in (function, args, *keywords.values())):
        return _BAD
    return partial(function, *args, **keywords)


def _member(data: Mapping[str, Any], path: str, allowed: Sequence[str], said: list[str]) -> Any:
    """The member of an enumeration, by its name."""
    found = _referred(data["enum"], path, allowed, said)
    if found is _BAD:
        return _BAD
    if not (isinstance(found, type) and issubclass(found, Enum)):
        return _refused(said, f"{path}: {data['enum']} is no enumeration")
    if data["member"] not in found.__members__:
        return _refused(
            said, f"{path}: {data['enum']} has no {data['member']!r}; it has {', '.join(found.__members__)}"
        )
    return found[data["member"]]


def _referred(name: Any, path: str, allowed: Sequence[str], said: list[str]) -> Any:
    """The class or function of this name, where it is one's of the modules that may be imported."""
    text = str(name)
    module, colon, attribute = text.rpartition(":")
    if not colon:
        for shipped in SHIPPED:
            if text in _public(shipped):
                return getattr(importlib.import_module(shipped), text)
        known = sorted({public for shipped in SHIPPED for public in _public(shipped)})
        near = ", ".join(get_close_matches(text, known, 3)) or "AdamW, MLP and the like"
        return _refused(
            said, f"{_here(path)}{text!r} does not come with trainables ({near}); one's own is written as module:{text}"
        )
    if not _within(module, allowed):
        return _refused(
            said,
            f"{_here(path)}{text} lies in {module}, which may not be imported; if you trust its code, name that module when "
            "you read",
        )
    try:
        found = _attribute(module, attribute)
    except Exception as error:  # whatever the module raises
        return _refused(said, f"{_here(path)}{module} cannot be imported ({type(error).__name__}: {error})")
    if not (isinstance(found, type) or inspect.isroutine(found)):
        return _refused(said, f"{_here(path)}{module} has no class or function {attribute!r}")
    # What a module has imported is another's: without this every function of the process could be reached through it.
    owner = _module_of(found)
    if owner is None or not _within(owner, allowed):
        return _refused(said, f"{_here(path)}{text} is {owner}'s, which may not be imported")
    return found


def _attribute(module: str, name: str) -> Any:
    """What a dotted name within a module stands for, through classes alone; None where there is nothing."""
    found: Any = _imported(module)
    for place, part in enumerate(name.split(".")):
        if part.startswith("__") or (place and not isinstance(found, type)):
            return None
        found = getattr(found, part, None)
    return found


def _imported(module: str) -> ModuleType:
    """A module by name; the file that is run as a script is itself, not a second copy of it."""
    main = sys.modules["__main__"]
    return main if module == _main_name() else importlib.import_module(module)


def _main_name() -> str | None:
    """What the script that is run would be imported as; None in an interactive session."""
    main = sys.modules["__main__"]
    spec, file = getattr(main, "__spec__", None), getattr(main, "__file__", None)
    return str(spec.name) if spec is not None else Path(file).stem if file is not None else None


def _module_of(value: Any) -> str | None:
    """The module that a class or function was written in."""
    module = getattr(value, "__module__", None)
    return _main_name() if module == "__main__" else module


def _public(module: str) -> Sequence[str]:
    names: Sequence[str] = importlib.import_module(module).__all__
    return names


def _within(module: str, allowed: Sequence[str]) -> bool:
    return any(module == one or module.startswith(f"{one}.") for one in allowed)


def _names(data: Any) -> Iterator[str]:
    """The names of classes and functions in what was written."""
    if isinstance(data, Mapping):
        own = ("class",) if "class" in data else ("enum", "reference", "partial")  # a setting may have such a name
        yield from (str(data[key]) for key in own if key in data)
        for item in data.values():
            yield from _names(item)
    elif isinstance(data, list):
        for item in data:
            yield from _names(item)


def _all(items: Sequence[Any], path: str, allowed: Sequence[str], said: list[str], made: Any) -> Any:
    """Every item read, put into what holds them."""
    read = [_value(item, join(path, str(place)), allowed, said) for place, item in enumerate(items)]
    try:
        return _BAD if any(item is _BAD for item in read) else made(read)
    except TypeError as error:
        return _refused(said, f"{path}: {error}")


def _pair(item: Any) -> bool:
    return isinstance(item, list) and len(item) == 2


def _refused(said: list[str], text: str) -> Any:
    said.append(text)
    return _BAD


def _here(path: str) -> str:
    return f"{path}: " if path else ""
