"""TensorBoard's event files, written without TensorBoard, torch or protobuf.

A file is a row of records (length, its checksum, bytes, their checksum; the checksum is a masked CRC-32C), each an ``Event`` in
protobuf's wire format, of which a few fields of a few messages are needed: ``tensorboard/compat/proto/{event,summary}.proto`` and
``tensorboard/plugins/hparams/{api,plugin_data}.proto``. Both have been the same for years; the tests read with TensorBoard's
own reader.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Mapping, Sequence
from functools import cache

from analysis.records import Scalar

SUCCESS, FAILURE = 1, 2
"""How a session ended, as the HParams tab has it."""

LARGEST = float.fromhex("0x1.fffffep127")
"""The largest number in single precision."""

_STRING, _BOOL, _NUMBER = 1, 2, 3
_NOTHING = bytes.fromhex("080112021200")
"""A tensor of single precision without a value, which stands where a summary has none."""


def record(event: bytes) -> bytes:
    """An event as it stands in the file."""
    length = struct.pack("<Q", len(event))
    return length + struct.pack("<I", _checksum(length)) + event + struct.pack("<I", _checksum(event))


def head(when: float) -> bytes:
    """The event that a file begins with."""
    return _double(1, when) + _text(3, "brain.Event:2")


def scalars(values: Mapping[str, float], *, step: int, when: float) -> bytes:
    """One event with the values of a step, by tag, in single precision; what is larger than that holds is infinite."""
    summary = b"".join(_bytes(1, _text(1, tag) + _tag(2, 5) + _single(value)) for tag, value in values.items())
    return _double(1, when) + _whole(2, step) + _bytes(5, summary)


def experiment(
    points: Sequence[Mapping[str, Scalar]], metrics: Mapping[str, str], *, name: str, created: float
) -> bytes:
    """What the HParams tab has columns for: the settings of these points, and metrics by tag with the name to show."""
    paths = list(dict.fromkeys(path for point in points for path in point))
    settings = b"".join(_bytes(4, _setting(path, [point[path] for point in points if path in point])) for path in paths)
    columns = b"".join(_bytes(5, _bytes(1, _text(2, tag)) + _text(3, shown)) for tag, shown in metrics.items())
    return _hparams("experiment", 2, _double(3, created) + settings + columns + _text(6, name), created)


def session_start(point: Mapping[str, Scalar], *, group: str, when: float) -> bytes:
    """A trial begins, with these settings."""
    settings = b"".join(_bytes(1, _text(1, path) + _bytes(2, _value(value))) for path, value in point.items())
    return _hparams("session_start_info", 3, settings + _text(4, group) + _double(5, when), when)


def session_end(status: int, *, when: float) -> bytes:
    """A trial has ended."""
    return _hparams("session_end_info", 4, _whole(1, status) + _double(2, when), when)


def _hparams(name: str, place: int, message: bytes, when: float) -> bytes:
    """An event of the HParams plugin: what it says stands in the summary's metadata."""
    metadata = _bytes(1, _text(1, "hparams") + _bytes(2, _bytes(place, message)))
    value = _text(1, f"_hparams_/{name}") + _bytes(8, _NOTHING) + _bytes(9, metadata)
    return _double(1, when) + _bytes(5, _bytes(1, value))


def _setting(path: str, values: Sequence[Scalar]) -> bytes:
    """A column of settings with what it ranges over, without which it could not be sorted."""
    plain = [_plain(value) for value in values]
    numbers = [float(value) for value in plain if isinstance(value, int | float) and not isinstance(value, bool)]
    if len(numbers) == len(plain):
        kind, domain = _NUMBER, _bytes(6, _double(1, min(numbers)) + _double(2, max(numbers)))
    else:
        flags = all(isinstance(value, bool) for value in plain)
        kind = _BOOL if flags else _STRING
        domain = _bytes(5, b"".join(_bytes(1, _value(value)) for value in dict.fromkeys(plain)))
    return _text(1, path) + _whole(4, kind) + domain


def _plain(value: Scalar) -> str | int | float | bool:
    return "none" if value is None else value


def _value(value: Scalar) -> bytes:
    """``google.protobuf.Value``."""
    plain = _plain(value)
    if isinstance(plain, bool):
        return _tag(4, 0) + _varint(plain)
    if isinstance(plain, str):
        return _bytes(3, plain.encode())  # also an empty one
    return _double(2, float(plain))


def _single(value: float) -> bytes:
    return struct.pack("<f", value if abs(value) <= LARGEST else math.copysign(math.inf, value))


def _tag(place: int, kind: int) -> bytes:
    return _varint(place << 3 | kind)


def _varint(number: int) -> bytes:
    """Seven bits a byte, the lowest first; a negative number as it would stand in 64 bits."""
    number &= (1 << 64) - 1
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    found.append(number)
    return bytes(found)


def _whole(place: int, number: int) -> bytes:
    return _tag(place, 0) + _varint(number)


def _double(place: int, number: float) -> bytes:
    return _tag(place, 1) + struct.pack("<d", number)


def _bytes(place: int, content: bytes) -> bytes:
    return _tag(place, 2) + _varint(len(content)) + content


def _text(place: int, content: str) -> bytes:
    return _bytes(place, content.encode()) if content else b""


def _checksum(content: bytes) -> int:
    """CRC-32C (Castagnoli), turned and shifted as the format wants it."""
    table, crc = _table(), 0xFFFFFFFF
    for byte in content:
        crc = table[(crc ^ byte) & 0xFF] ^ crc >> 8
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


@cache
def _table() -> tuple[int, ...]:
    return tuple(_divided(byte) for byte in range(256))


def _divided(byte: int) -> int:
    for _ in range(8):
        byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
    return byte


def whole(events: Iterable[bytes]) -> bytes:
    """The contents of a file."""
    return b"".join(map(record, events))
