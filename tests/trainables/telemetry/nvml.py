"""A stand-in for ``pynvml`` that answers as the real library does: handles, structures with fields, its own exceptions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from types import SimpleNamespace
from typing import Any


class NvmlError(Exception):
    """What every exception of the library is."""


class NotSupportedError(NvmlError):
    """This device does not know the answer."""


class NotFoundError(NvmlError):
    """There is no such device."""


class LibraryNotFoundError(NvmlError):
    """There is no driver."""


@dataclass(kw_only=True, eq=False)
class Card:
    """A device, or with a ``MIG-`` as ``uuid`` an instance of one; ``energy`` is read anew at each question, in mJ."""

    uuid: str = "GPU-aaaa"
    bus: str = "00000000:3B:00.0"
    used: int = 8_000_000_000
    gpu: int = 87
    milliwatts: int = 412_500
    celsius: int = 64
    reasons: int = 0
    energy: Iterator[int] = field(default_factory=lambda: count(5_000, 250))
    pids: Sequence[int] = (4321,)
    instances: Sequence[Card] = ()
    unsupported: Iterable[str] = ()


MIG = ("Energy", "Power", "Utilization", "Temperature", "Reasons", "MigMode")
"""What an instance of a divided card does not answer."""


class Nvml:
    """The module; ``absent`` are functions that an older one lacks."""

    NVMLError = NvmlError

    def __init__(self, *cards: Card, driver: bool = True, absent: Iterable[str] = ()) -> None:
        self.cards, self.driver, self.absent = cards, driver, set(absent)
        self.asked: list[str] = []

    def __getattr__(self, name: str) -> Callable[..., Any]:
        answer = ANSWERS.get(name)
        if answer is None or name in self.__dict__.get("absent", ()):
            raise AttributeError(f"module 'pynvml' has no attribute {name!r}")

        def call(*arguments: Any) -> Any:
            self.asked.append(name)
            first = arguments[0] if arguments else None
            if isinstance(first, Card):
                unsupported = (*first.unsupported, *(MIG if first.uuid.startswith("MIG-") else ()))
                if any(part in name for part in unsupported):
                    raise NotSupportedError(3)
            return answer(self, *arguments)

        return call

    def everything(self) -> list[Card]:
        """Cards and their instances."""
        return [each for card in self.cards for each in (card, *card.instances)]


def _init(nvml: Nvml) -> None:
    if not nvml.driver:
        raise LibraryNotFoundError(12)


def _by_uuid(nvml: Nvml, uuid: str) -> Card:
    return _only(card for card in nvml.everything() if card.uuid == uuid)


def _by_bus(nvml: Nvml, bus: str) -> Card:
    return _only(card for card in nvml.cards if card.bus == bus)


def _by_index(nvml: Nvml, index: int) -> Card:
    return _only(nvml.cards[index : index + 1])


def _instance(_: Nvml, card: Card, place: int) -> Card:
    return _only(card.instances[place : place + 1])


def _only(found: Iterable[Card]) -> Card:
    for card in found:
        return card
    raise NotFoundError(6)


def _mode(_: Nvml, card: Card) -> list[int]:
    divided = int(bool(card.instances))
    return [divided, divided]


ANSWERS: dict[str, Callable[..., Any]] = {
    "nvmlInit": _init,
    "nvmlDeviceGetCount": lambda nvml: len(nvml.cards),
    "nvmlDeviceGetHandleByUUID": _by_uuid,
    "nvmlDeviceGetHandleByPciBusId": _by_bus,
    "nvmlDeviceGetHandleByIndex": _by_index,
    "nvmlDeviceIsMigDeviceHandle": lambda _, card: int(card.uuid.startswith("MIG-")),
    "nvmlDeviceGetMigMode": _mode,
    "nvmlDeviceGetMaxMigDeviceCount": lambda _, card: 7 if card.instances else 0,
    "nvmlDeviceGetMigDeviceHandleByIndex": _instance,
    "nvmlDeviceGetMemoryInfo": lambda _, card: SimpleNamespace(
        total=80 * 10**9, free=80 * 10**9 - card.used, used=card.used
    ),
    "nvmlDeviceGetUtilizationRates": lambda _, card: SimpleNamespace(gpu=card.gpu, memory=41),
    "nvmlDeviceGetPowerUsage": lambda _, card: card.milliwatts,
    "nvmlDeviceGetTotalEnergyConsumption": lambda _, card: next(card.energy),
    "nvmlDeviceGetTemperature": lambda _, card, sensor: card.celsius if sensor == 0 else None,
    "nvmlDeviceGetCurrentClocksEventReasons": lambda _, card: card.reasons,
    "nvmlDeviceGetCurrentClocksThrottleReasons": lambda _, card: card.reasons,
    "nvmlDeviceGetComputeRunningProcesses": lambda _, card: [
        SimpleNamespace(pid=pid, usedGpuMemory=None) for pid in card.pids
    ],
}
