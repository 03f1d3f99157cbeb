"""What torch's Python part asks of a GPU's driver, answered for the GPU by name."""

from __future__ import annotations

import contextlib
import time
from typing import Any

import torch
from torch import Tensor, nn

from tests.gpu.captured import Graph, capturing


class Properties:
    """Of the device."""

    name, major, minor, total_memory, multi_processor_count = "GPU by name", 9, 0, 16 << 30, 1


class Event:
    """A point in time."""

    def __init__(self, **_: Any) -> None:
        self._at = time.perf_counter()

    def record(self, *_: Any) -> None:
        self._at = time.perf_counter()

    def query(self) -> bool:
        return True

    def synchronize(self) -> None:
        pass

    def elapsed_time(self, end: Event) -> float:
        return 1000 * (end._at - self._at)


class Stream:
    """Everything is done at once, whichever it is given to."""

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def wait_stream(self, *_: Any) -> None:
        pass

    def wait_event(self, *_: Any) -> None:
        pass

    def record_event(self, event: Event | None = None) -> Event:
        return event or Event()

    def synchronize(self) -> None:
        pass


current = [Stream()]


class On:
    """Work is given to a stream within."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    def __enter__(self) -> None:
        self._before, current[0] = current[0], self._stream

    def __exit__(self, *_: object) -> None:
        current[0] = self._before


DRIVER: dict[str, Any] = {
    "_lazy_init": lambda: None,
    "is_available": lambda: True,
    "is_initialized": lambda: True,
    "is_bf16_supported": lambda *_: True,
    "is_current_stream_capturing": lambda: capturing[0],
    "CUDAGraph": Graph,
    "device_count": lambda: 1,
    "current_device": lambda: 0,
    "device": lambda *_: contextlib.nullcontext(),
    "get_device_name": lambda *_: Properties.name,
    "get_device_capability": lambda *_: (Properties.major, Properties.minor),
    "get_device_properties": lambda *_: Properties,
    "synchronize": lambda *_: None,
    "empty_cache": lambda: None,
    "reset_peak_memory_stats": lambda *_: None,
    "max_memory_allocated": lambda *_: 1 << 20,
    "memory_allocated": lambda *_: 1 << 19,
    "mem_get_info": lambda *_: (Properties.total_memory // 2, Properties.total_memory),
    "set_per_process_memory_fraction": lambda *_: None,
    "get_rng_state": lambda *_: torch.default_generator.get_state(),
    "set_rng_state": lambda state, *_: torch.default_generator.set_state(state),
    "manual_seed": lambda seed: torch.default_generator.manual_seed(seed),
    "manual_seed_all": lambda seed: torch.default_generator.manual_seed(seed),
    "Event": Event,
    "Stream": Stream,
    "current_stream": lambda *_: current[0],
    "stream": On,
}


def install() -> None:
    """Answer for the driver in this process, which has loaded the backend."""
    import torch.nn.modules.rnn as recurrent

    for name, answer in DRIVER.items():
        setattr(torch.cuda, name, answer)
    Tensor.pin_memory = lambda self, *_: self  # type: ignore[method-assign]
    Tensor.record_stream = lambda *_: None  # type: ignore[method-assign]
    torch.backends.cudnn.is_acceptable = lambda *_: False
    vars(torch._C).setdefault("_host_emptyCache", lambda: None)
    vars(recurrent)["_VF"] = Recurrent(vars(recurrent)["_VF"])
    for kind in (Tensor, nn.Parameter):
        kind.__deepcopy__ = _copied(kind.__deepcopy__)  # type: ignore[method-assign]
    torch.serialization.register_package(1, lambda _: None, _loaded)


class Recurrent:
    """Torch's recurrent layers, on a GPU in the operations that they are made of: the processor has no kernel for the whole."""

    def __init__(self, real: Any) -> None:
        self._real = real

    def __getattr__(self, name: str) -> Any:
        from torch._decomp import decompositions

        real = getattr(self._real, name)
        if name not in ("lstm", "gru"):
            return real
        made_of = getattr(decompositions, f"{name}_impl")
        return lambda first, *rest: (made_of if first.is_cuda else real)(first, *rest)


def _copied(plain: Any) -> Any:
    """A deep copy: torch makes memory for it by a device's name, of which it knows only those it was built for."""

    def deepcopy(self: Tensor, memo: dict[int, Any]) -> Tensor:
        if not self.is_cuda:
            found: Tensor = plain(self, memo)
            return found
        if id(self) not in memo:
            with torch.no_grad():
                new = torch.empty_strided(self.size(), self.stride(), dtype=self.dtype, device=self.device).copy_(self)
            is_parameter = isinstance(self, nn.Parameter)
            memo[id(self)] = (
                nn.Parameter(new, self.requires_grad) if is_parameter else new.requires_grad_(self.requires_grad)
            )
            memo[id(memo)] = [
                *memo.get(id(memo), []),
                self,
            ]  # it lives for as long as the memo, as copy.deepcopy has it
        copied: Tensor = memo[id(self)]
        return copied

    return deepcopy


def _loaded(storage: Any, location: str) -> Any:
    """What was on a GPU when it was saved, in its memory again."""
    if not location.startswith("cuda"):
        return None
    there = torch.empty(storage.size(), dtype=torch.uint8, device="cuda").untyped_storage()
    there.copy_(storage)
    return there
