"""What decides what a module or a function computes beside its tensors, as text: equal texts compute the same."""

from __future__ import annotations

import hashlib
import random
import sys
import weakref
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum
from functools import partial
from pathlib import Path
from types import (
    BuiltinFunctionType,
    CodeType,
    FunctionType,
    GetSetDescriptorType,
    MemberDescriptorType,
    MethodType,
    ModuleType,
)
from typing import Any

import torch
from torch import Tensor, nn

from trainables.describe import join
from trainables.fused.drops import own_rate
from trainables.modules import HOOKS

Marks = tuple[str, ...]

_ALIKE = frozenset(vars(nn.Module()))
"""What every module has: its tensors and parts are told one by one, and its mode is the run's."""

_PLAIN = (
    bool,
    int,
    float,
    complex,
    str,
    bytes,
    torch.dtype,
    torch.device,
    torch.layout,
    torch.memory_format,
    Path,
    Enum,
)


def marks(module: nn.Module) -> Marks:
    """One line for each part, tensor and attribute of a module; neither the values of its parameters and buffers, nor its rates of
    dropout that may be each member's own.

    A tensor that is neither parameter nor buffer is told by its values, and so is all that a part holds: lists, functions and
    what they close over, objects. What cannot be read is told by its identity, so that it is like nothing else.
    """
    known = {id(part): f"part {name}" for name, part in module.named_modules()}
    for tensors in (module.named_parameters(), module.named_buffers()):
        known |= {id(tensor): f"tensor {name}" for name, tensor in tensors}
    reader = _Reader(known=known)
    return tuple(
        line for name, part in module.named_modules(remove_duplicate=False) for line in reader.part(name, part)
    )


def marks_of(value: object) -> Marks:
    """The same of a loss, a metric or settings."""
    return (_Reader(known={}).text(value),)


@dataclass(kw_only=True, slots=True)
class _Reader:
    """Reads values; ``known`` are those that have a name already, by identity."""

    known: dict[int, str]
    kept: list[object] = field(default_factory=list)

    def part(self, name: str, part: nn.Module) -> Iterator[str]:
        """The lines of one part, without those of the parts in it."""
        if self.known[id(part)] != f"part {name}":
            yield f"{name} is {self.known[id(part)]}"
            return
        yield f"{name}: {self._kind(type(part))}"
        for group in (part._parameters, part._buffers):
            for key, tensor in group.items():
                yield f"{join(name, key)}: {_tensor_kind(tensor)} {self.known.get(id(tensor))}"
        own = own_rate(part)
        for key, value in vars(part).items():
            if key not in _ALIKE and not (own and key == "p"):
                yield f"{join(name, key)}: {self.text(value)}"
        for key in HOOKS:
            if vars(part)[key]:
                yield f"{join(name, key)}: {self.text(list(vars(part)[key].values()))}"

    def text(self, value: Any) -> str:
        """A value as text."""
        if value is None or isinstance(value, _PLAIN):
            return repr(value)
        if id(value) in self.known:
            return self.known[id(value)]
        # Named before it is read, since it may hold itself; and held, so that its identity is nothing else's.
        self.known[id(value)] = f"value {len(self.kept)}"
        self.kept.append(value)
        return self._read(value)

    def _read(self, value: Any) -> str:
        if isinstance(value, Tensor):
            return f"{_tensor_kind(value)} {_digest(value)}"
        if isinstance(value, torch.Generator):
            return f"generator {_digest(value.get_state())}"
        if isinstance(value, Mapping):
            return f"{{{', '.join(f'{self.text(key)}: {self.text(item)}' for key, item in value.items())}}}"
        if isinstance(value, slice):
            return f"slice {self.text([value.start, value.stop, value.step])}"
        if isinstance(value, tuple | list | range | deque):
            return f"{type(value).__name__}({', '.join(map(self.text, value))})"
        if isinstance(value, set | frozenset):
            return f"{{{', '.join(sorted(map(self.text, value)))}}}"
        if isinstance(value, weakref.ref):
            return self.text(value())
        if isinstance(value, partial):
            return f"partial({self.text([value.func, value.args, value.keywords])})"
        if isinstance(value, MethodType):
            return f"{self.text(value.__func__)} of {self.text(value.__self__)}"
        if isinstance(value, FunctionType):
            return self._function(value)
        if isinstance(value, type):
            return self._kind(value)
        if isinstance(value, ModuleType):
            return value.__name__
        if isinstance(value, BuiltinFunctionType) and isinstance(value.__self__, ModuleType | type(None)):
            return f"{value.__module__}.{value.__qualname__}"
        return self._object(value)

    def _function(self, value: FunctionType) -> str:
        """Its name and code, its defaults and what it closes over."""
        cells = [_cell(cell) for cell in value.__closure__ or ()]
        inside = self.text([value.__defaults__, value.__kwdefaults__, cells])
        return f"{value.__module__}.{value.__qualname__} {_code(value.__code__)} {inside}"

    def _kind(self, kind: type) -> str:
        """A class by its name; one that a function made, which is not found under it, also by all that it holds."""
        name = f"{kind.__module__}.{kind.__qualname__}"
        if id(kind) in self.known or _under(kind) is kind:
            return name
        self.known[id(kind)] = name
        self.kept.append(kind)
        inside = {
            key: _function_of(value)
            for key, value in vars(kind).items()
            if not key.startswith("__") or isinstance(value, FunctionType)
        }
        return f"{name} {self.text([*kind.__bases__, inside])}"

    def _object(self, value: Any) -> str:
        """Any other object: its class and all it holds, an array's values; else its identity."""
        if isinstance(value, random.Random):
            return f"random {self.text(value.getstate())}"
        held = {**getattr(value, "__dict__", {}), **{name: getattr(value, name, None) for name in _slots(type(value))}}
        if held or _bare(type(value)):
            return f"{self._kind(type(value))} {self.text(held)}"
        if type(value).__module__ == "numpy":
            with suppress(TypeError):
                return f"{type(value).__name__} {self.text(torch.as_tensor(value))}"
        return f"{type(value).__qualname__} at {id(value)}"


def _bare(kind: type) -> bool:
    """Whether objects of a class hold nothing but what Python shows: all of it is written in Python."""
    return all("__module__" in vars(base) and {"__dict__", "__slots__"} & {*vars(base)} for base in kind.__mro__[:-1])


def _function_of(value: object) -> object:
    """What a class holds, a method of any kind by its functions; a descriptor of the interpreter's own is none."""
    if isinstance(value, staticmethod | classmethod):
        return value.__func__
    if isinstance(value, property):
        return [value.fget, value.fset, value.fdel]
    return None if isinstance(value, GetSetDescriptorType | MemberDescriptorType) else value


def _under(kind: type) -> object:
    """What is found under a class's name."""
    found: object = sys.modules.get(kind.__module__)
    for name in kind.__qualname__.split("."):
        found = getattr(found, name, None)
    return found


def _tensor_kind(tensor: Tensor | None) -> str:
    return "none" if tensor is None else f"{tensor.dtype} {tuple(tensor.shape)} {tensor.requires_grad}"


def _digest(tensor: Tensor) -> str:
    """A tensor's values."""
    try:
        values = tensor.detach().cpu().contiguous().flatten().view(torch.uint8)
        return hashlib.sha256(values.numpy().tobytes()).hexdigest()[:16]
    except (RuntimeError, TypeError):
        return f"at {id(tensor)}"


def _code(code: CodeType) -> str:
    """What a function does, the functions in it included, wherever it stands."""
    inner = [_code(constant) for constant in code.co_consts if isinstance(constant, CodeType)]
    constants = [constant for constant in code.co_consts if not isinstance(constant, CodeType)]
    return hashlib.sha256(repr((code.co_code, code.co_names, constants, inner)).encode()).hexdigest()[:16]


def _cell(cell: Any) -> object:
    """What a function closes over; a variable that has no value yet is none."""
    try:
        return cell.cell_contents
    except ValueError:
        return None


def _slots(kind: type) -> Iterator[str]:
    for base in kind.__mro__:
        slots = base.__dict__.get("__slots__", ())
        yield from (slots,) if isinstance(slots, str) else (name for name in slots if not name.startswith("__"))
