"""A GPU as NVIDIA's management library tells of it; None is what it does not tell."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    import torch

Library = Any
"""The module ``pynvml`` (package ``nvidia-ml-py``), or what answers like it."""

REASONS = {
    0x04: "power cap",
    0x08: "hardware slowdown",
    0x20: "heat",
    0x40: "heat",
    0x80: "power brake",
}
"""The reasons, by NVML's bits, for which clocks are held below what was asked for. Idling and clocks set by hand are none."""

TEMPERATURE = 0
"""The sensor on the die."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Address:
    """How a device of torch is found again by another library.

    ``uuid`` is without prefix, ``bus`` its place there (``00000000:3B:00.0``), ``visible`` its entry in ``CUDA_VISIBLE_DEVICES``:
    where that is a number, it counts in the order of the bus only ``by_bus``.
    """

    uuid: str | None = None
    bus: str | None = None
    visible: str | None = None
    by_bus: bool = False

    @classmethod
    def of(cls, device: torch.device) -> Self:
        """Of a CUDA device of this process."""
        import torch

        index = device.index if device.index is not None else torch.cuda.current_device()
        properties = torch.cuda.get_device_properties(index)
        uuid = getattr(properties, "uuid", None)
        place = [getattr(properties, f"pci_{name}_id", None) for name in ("domain", "bus", "device")]
        entries = [entry.strip() for entry in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")]
        return cls(
            uuid=str(uuid) if uuid is not None else None,
            bus=_bus(*place),
            visible=entries[index] if index < len(entries) and entries[index] else None,
            by_bus=os.environ.get("CUDA_DEVICE_ORDER") == "PCI_BUS_ID",
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """A device at one moment: memory in use by everybody, busy per cent, power, temperature, why its clocks are held down.

    ``shared`` says that more processes than one compute on it.
    """

    held_bytes: int | None
    percent: float | None
    watts: float | None
    celsius: float | None
    throttled: frozenset[str] | None
    shared: bool


class Gpu:
    """One device, or one instance of a device that is divided (MIG)."""

    def __init__(self, nvml: Library, handle: Any) -> None:
        self._nvml, self._handle = nvml, handle

    @classmethod
    def found(cls, nvml: Library, address: Address) -> Self | None:
        """The device at an address; None where the library has no driver, or does not know which device it is."""
        try:
            nvml.nvmlInit()  # counted by the library, and cheap when done before
        except nvml.NVMLError:
            return None
        for name, argument in _ways(nvml, address):
            handle = _asked(nvml, name, argument)
            if handle is not None:
                handle = _instance(nvml, handle)
                return cls(nvml, handle) if handle is not None else None
        return None

    def millijoules(self) -> int | None:
        """The counter of energy since the driver was loaded; None for an instance, whose share nobody measures."""
        value = self._ask("nvmlDeviceGetTotalEnergyConsumption")
        return int(value) if value is not None else None

    def shared(self) -> bool:
        """True when the library shows more than one process that computes on the device."""
        processes = self._ask("nvmlDeviceGetComputeRunningProcesses")
        return processes is not None and len({process.pid for process in processes}) > 1

    def look(self) -> Sample:
        """The device as it is now."""
        memory, rates = self._ask("nvmlDeviceGetMemoryInfo"), self._ask("nvmlDeviceGetUtilizationRates")
        milliwatts = self._ask("nvmlDeviceGetPowerUsage")
        celsius = self._ask("nvmlDeviceGetTemperature", TEMPERATURE)
        return Sample(
            held_bytes=int(memory.used) if memory is not None else None,
            percent=float(rates.gpu) if rates is not None else None,
            watts=milliwatts / 1000 if milliwatts is not None else None,
            celsius=float(celsius) if celsius is not None else None,
            throttled=self._throttled(),
            shared=self.shared(),
        )

    def _throttled(self) -> frozenset[str] | None:
        for name in ("nvmlDeviceGetCurrentClocksEventReasons", "nvmlDeviceGetCurrentClocksThrottleReasons"):
            bits = self._ask(name)
            if bits is not None:
                return frozenset(reason for bit, reason in REASONS.items() if bits & bit)
        return None

    def _ask(self, name: str, *arguments: object) -> Any:
        return _asked(self._nvml, name, self._handle, *arguments)


def library() -> Library | None:
    """The module, where it is installed."""
    try:
        return importlib.import_module("pynvml")
    except ImportError:
        return None


def gpu_of(device: torch.device) -> Gpu | None:
    """The GPU behind a device of torch; None for a CPU, and where nothing is told of it."""
    if device.type != "cuda":
        return None
    nvml = library()
    return Gpu.found(nvml, Address.of(device)) if nvml is not None else None


def _bus(domain: int | None, bus: int | None, device: int | None) -> str | None:
    """A place on the bus as the library writes it; None from a torch that does not tell it."""
    if domain is None or bus is None or device is None:
        return None
    return f"{domain:08X}:{bus:02X}:{device:02X}.0"


def _ways(nvml: Library, address: Address) -> Iterator[tuple[str, object]]:
    """The calls that may find a device, the surest first. CUDA counts devices by speed and the library by bus."""
    visible = address.visible or ""
    if visible.startswith(("MIG-", "GPU-")):
        yield "nvmlDeviceGetHandleByUUID", visible  # an abbreviated one, which CUDA takes too, is not found
    if address.uuid is not None:
        yield "nvmlDeviceGetHandleByUUID", f"GPU-{address.uuid}"
        yield "nvmlDeviceGetHandleByUUID", f"MIG-{address.uuid}"
    if address.bus is not None:
        yield "nvmlDeviceGetHandleByPciBusId", address.bus
    if address.by_bus and visible.isdecimal():
        yield "nvmlDeviceGetHandleByIndex", int(visible)
    elif _asked(nvml, "nvmlDeviceGetCount") == 1:
        yield "nvmlDeviceGetHandleByIndex", 0


def _instance(nvml: Library, handle: Any) -> Any:
    """The handle itself, or the only instance of a device that is divided; None where there are several to choose from."""
    if _asked(nvml, "nvmlDeviceIsMigDeviceHandle", handle):
        return handle
    mode = _asked(nvml, "nvmlDeviceGetMigMode", handle)  # [now, after a restart]
    if mode is None or not mode[0]:
        return handle
    places = range(_asked(nvml, "nvmlDeviceGetMaxMigDeviceCount", handle) or 0)
    instances = [_asked(nvml, "nvmlDeviceGetMigDeviceHandleByIndex", handle, place) for place in places]
    there = [instance for instance in instances if instance is not None]
    return there[0] if len(there) == 1 else None


def _asked(nvml: Library, name: str, *arguments: object) -> Any:
    """What a call of the library answers; None where device, driver or library does not support it."""
    try:
        return getattr(nvml, name)(*arguments)
    except (nvml.NVMLError, AttributeError):
        return None
