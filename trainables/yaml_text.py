"""YAML as far as configuration needs it: objects, lists, texts, numbers, booleans and null; no tags, no anchors.

What is written is read the same by every YAML parser. What is read follows YAML 1.2: ``1e-3`` is a number, ``no`` and ``1:30`` are
texts.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

WIDTH = 100
"""What is short enough stands on one line."""

_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z0-9_]+)*")
_RESERVED = re.compile(r"(true|false|yes|no|on|off|null|y|n|inf|nan)", re.IGNORECASE)
_WHOLE = re.compile(r"[-+]?[0-9]+")
_NUMBER = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_UNSEEN = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ud800-\udfff\ufffe\uffff]")
"""What YAML takes for the end of a line, or does not allow."""

_STANDARD = "tag:yaml.org,2002:"


def written(data: Mapping[str, Any]) -> str:
    """An object as YAML, its keys in their order. Raises TypeError for what is none of the values above."""
    return "".join(f"{line}\n" for line in _block(data, ""))


def parsed(text: str) -> Any:
    """The value that a text holds.

    Raises ValueError, naming line and column, for what is no YAML, for tags and anchors, and for keys that come twice, and
    ImportError where PyYAML is not installed.
    """
    import yaml

    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        return _value(node, set()) if node is not None else None
    except yaml.MarkedYAMLError as error:
        raise ValueError(f"{_place(error.problem_mark)}: {error.problem}") from error
    except yaml.YAMLError as error:
        raise ValueError(str(error).splitlines()[0]) from error
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def _block(data: Mapping[str, Any] | Sequence[Any], indent: str) -> list[str]:
    """Lines for an object or a list, one for each entry that is short enough."""
    named = isinstance(data, Mapping)
    entries = (
        [(f"{_flow(key)}:", item) for key, item in data.items()]
        if isinstance(data, Mapping)
        else [("-", i) for i in data]
    )
    lines = []
    for head, item in entries:
        line = f"{indent}{head} {_flow(item)}"
        if len(line) <= WIDTH or not isinstance(item, Mapping | list) or not item:
            lines.append(line)
        elif named:
            lines += [f"{indent}{head}", *_block(item, f"{indent}  ")]
        else:
            first, *rest = _block(item, f"{indent}  ")
            lines += [f"{indent}- {first.lstrip()}", *rest]
    return lines


def _flow(value: Any) -> str:
    """A value on one line."""
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        digits, exponent, power = repr(value).partition("e")
        # Older parsers take a number for a text when it has a power and no point.
        return f"{digits}.0e{power}" if exponent and "." not in digits else repr(value)
    if isinstance(value, str):
        return value if _WORD.fullmatch(value) and not _RESERVED.fullmatch(value) else _quoted(value)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_flow(key)}: {_flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_flow(item) for item in value) + "]"
    raise TypeError(f"{value!r} is a {type(value).__name__}, which YAML is not written for here")


def _quoted(text: str) -> str:
    """A text in quotes, as JSON and YAML both read it."""
    return _UNSEEN.sub(lambda found: f"\\u{ord(found[0]):04x}", json.dumps(text, ensure_ascii=False))


def _value(node: Any, seen: set[int]) -> Any:
    """What a node of PyYAML's graph stands for; ``seen`` are the nodes around it and before it."""
    if not node.tag.startswith(_STANDARD) or node.tag.startswith(f"{_STANDARD}python"):
        raise ValueError(f"{_place(node.start_mark)}: the tag {node.tag} is not known; take it out")
    if id(node) in seen:
        raise ValueError(f"{_place(node.start_mark)}: what has an anchor stands here once more; write it out")
    seen.add(id(node))
    if node.id == "scalar":
        return _plain(node.value) if node.style is None else node.value
    if node.id == "sequence":
        return [_value(item, seen) for item in node.value]
    found: dict[str, Any] = {}
    for key, item in node.value:
        if key.id != "scalar":
            raise ValueError(f"{_place(key.start_mark)}: a key is no text")
        if key.value in found:
            raise ValueError(f"{_place(key.start_mark)}: {key.value!r} comes twice; keep one of the two")
        found[key.value] = _value(item, seen)
    return found


def _plain(text: str) -> Any:
    """What a text without quotes stands for."""
    if text in ("", "~", "null", "Null", "NULL"):
        return None
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    if _WHOLE.fullmatch(text):
        return int(text)
    return float(text) if _NUMBER.fullmatch(text) else text


def _place(mark: Any) -> str:
    return f"line {mark.line + 1}, column {mark.column + 1}" if mark is not None else "at its end"
