"""A device is found whatever CUDA calls it, and what it does not tell is None."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest
import torch

from tests.trainables.telemetry.nvml import ANSWERS, Card, Nvml
from trainables.telemetry.gpu import REASONS, TEMPERATURE, Address, Gpu, gpu_of, library

FIRST, SECOND = (
    Card(uuid="GPU-aaaa", bus="00000000:3B:00.0", used=1),
    Card(uuid="GPU-bbbb", bus="00000000:AF:00.0", used=2),
)


def held(nvml: Nvml, address: Address) -> int | None:
    """Which device was found, by the bytes in use."""
    gpu = Gpu.found(nvml, address)
    return gpu.look().held_bytes if gpu is not None else None


@pytest.mark.parametrize(
    ("address", "found"),
    [
        (Address(uuid="bbbb", visible="0"), 2),  # CUDA's fastest is the second on the bus
        (Address(visible="GPU-aaaa"), 1),
        (Address(visible="GPU-b", uuid="bbbb"), 2),  # CUDA takes an abbreviation, the library does not
        (Address(bus="00000000:AF:00.0", visible="0"), 2),
        (Address(visible="1", by_bus=True), 2),
        (Address(visible="0"), None),  # in which order CUDA counted is not known
        (Address(uuid="cccc"), None),
        (Address(), None),
    ],
    ids=["by uuid", "by its entry", "by a short entry", "by bus", "by index", "ambiguous", "unknown", "nothing known"],
)
def test_a_device_is_found_again(address: Address, found: int | None) -> None:
    assert held(Nvml(FIRST, SECOND), address) == found


def test_the_only_device_needs_no_name() -> None:
    assert held(Nvml(SECOND), Address(visible="0")) == 2


def test_the_address_of_a_device_of_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    told = SimpleNamespace(uuid="bbbb", pci_domain_id=0, pci_bus_id=0xAF, pci_device_id=0)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: told if index == 1 else None)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3, GPU-b")
    monkeypatch.setenv("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    address = Address.of(torch.device("cuda", 1))
    assert address == Address(uuid="bbbb", bus="00000000:AF:00.0", visible="GPU-b", by_bus=True)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(uuid="bbbb"))
    assert Address.of(torch.device("cuda", 1)).bus is None  # an older torch


def test_an_instance_of_a_divided_card_tells_of_its_memory_alone() -> None:
    mine, other = Card(uuid="MIG-1111", used=10), Card(uuid="MIG-2222", used=20)
    divided = Card(uuid="GPU-aaaa", used=99, instances=(mine, other))
    nvml = Nvml(divided)
    gpu = Gpu.found(nvml, Address(visible="MIG-2222", uuid="aaaa"))
    assert gpu is not None
    seen = gpu.look()
    assert seen.held_bytes == 20
    assert (seen.percent, seen.watts, seen.celsius, seen.throttled) == (None, None, None, None)
    assert gpu.millijoules() is None
    assert held(nvml, Address(uuid="1111")) == 10  # where torch gives the instance's own
    assert held(nvml, Address(uuid="aaaa")) is None  # which of the two is not known
    assert held(Nvml(Card(uuid="GPU-aaaa", used=99, instances=(mine,))), Address(uuid="aaaa")) == 10


def test_without_driver_or_library_there_is_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Gpu.found(Nvml(FIRST, driver=False), Address(uuid="aaaa")) is None
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert library() is None
    assert gpu_of(torch.device("cuda")) is None
    assert gpu_of(torch.device("cpu")) is None


def test_what_is_seen_in_one_look() -> None:
    gpu = Gpu.found(Nvml(Card(reasons=0x01 | 0x04 | 0x48, pids=(7, 8))), Address(uuid="aaaa"))
    assert gpu is not None
    seen = gpu.look()
    assert (seen.held_bytes, seen.percent, seen.watts, seen.celsius) == (8_000_000_000, 87.0, 412.5, 64.0)
    assert seen.throttled == {"power cap", "heat", "hardware slowdown"}
    assert seen.shared
    assert (gpu.millijoules(), gpu.millijoules()) == (5_000, 5_250)


@pytest.mark.parametrize("part", ["MemoryInfo", "Utilization", "Power", "Temperature", "Reasons", "Processes"])
def test_one_thing_that_is_not_told_leaves_the_others(part: str) -> None:
    gpu = Gpu.found(Nvml(Card(unsupported=(part,))), Address(uuid="aaaa"))
    assert gpu is not None
    seen = gpu.look()
    told = (seen.held_bytes, seen.percent, seen.watts, seen.celsius, seen.throttled)
    assert sum(value is None for value in told) == (0 if part == "Processes" else 1)
    assert not seen.shared


def test_an_older_library_has_the_reasons_under_another_name() -> None:
    nvml = Nvml(Card(reasons=0x80), absent=["nvmlDeviceGetCurrentClocksEventReasons", "nvmlDeviceIsMigDeviceHandle"])
    gpu = Gpu.found(nvml, Address(uuid="aaaa"))
    assert gpu is not None
    assert gpu.look().throttled == {"power brake"}
    assert "nvmlDeviceGetCurrentClocksThrottleReasons" in nvml.asked


def test_the_stand_in_is_as_the_real_library() -> None:
    """Every call is there under its name; on a machine without a driver it says so in its own way, which is no error here."""
    pynvml = pytest.importorskip("pynvml")
    assert not [name for name in ANSWERS if not callable(vars(pynvml).get(name))]
    assert issubclass(pynvml.NVMLError, Exception)
    assert pynvml.NVML_TEMPERATURE_GPU == TEMPERATURE
    named = {
        0x04: pynvml.nvmlClocksEventReasonSwPowerCap,
        0x08: pynvml.nvmlClocksEventReasonHwSlowdown,
        0x20: pynvml.nvmlClocksEventReasonSwThermalSlowdown,
        0x40: pynvml.nvmlClocksEventReasonHwThermalSlowdown,
        0x80: pynvml.nvmlClocksEventReasonHwPowerBrakeSlowdown,
    }
    assert all(bit == value for bit, value in named.items())
    assert named.keys() == REASONS.keys()
    assert Gpu.found(pynvml, Address(uuid="00000000-0000-0000-0000-000000000000")) is None
