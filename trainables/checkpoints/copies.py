"""Copies of what a run holds, to be written while it trains on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor


class Copies:
    """Copies live states into memory that it keeps from one time to the next: fresh pages would cost more than the copying.

    From a GPU tensors are copied into pinned memory without waiting; ``wait`` waits. A copy holds until the next one is taken.
    """

    def __init__(self) -> None:
        self._held: dict[tuple[object, ...], Tensor] = {}
        self._events: list[torch.cuda.Event] = []

    def take(self, state: Any) -> Any:
        """The state with every tensor a copy on the CPU; one that stands in two places is copied once.

        What was taken before is overwritten.
        """
        before, self._held = self._held, {}
        self._events = []
        copy = self._copied(state, before)
        for device in {tensor.device for tensor in _tensors(state) if tensor.is_cuda}:
            event = torch.cuda.Event()  # type: ignore[no-untyped-call]
            event.record(torch.cuda.current_stream(device))
            self._events.append(event)
        return copy

    def wait(self) -> None:
        """Wait until the copies are there; in whatever thread."""
        for event in self._events:
            event.synchronize()

    def _copied(self, value: Any, before: dict[tuple[object, ...], Tensor]) -> Any:
        if isinstance(value, Tensor):
            return self._tensor(value.detach(), before)
        if isinstance(value, dict):
            return {name: self._copied(item, before) for name, item in value.items()}
        if isinstance(value, list | tuple):
            return [self._copied(item, before) for item in value]
        return value

    def _tensor(self, tensor: Tensor, before: dict[tuple[object, ...], Tensor]) -> Tensor:
        place = (tensor.data_ptr(), tensor.device, tensor.dtype, tuple(tensor.shape), tensor.stride())
        if place not in self._held:
            held = before.get(place)
            if held is None:
                held = torch.empty_like(tensor, device="cpu", pin_memory=tensor.is_cuda)
            self._held[place] = held.copy_(tensor, non_blocking=tensor.is_cuda)
        return self._held[place]


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict | list | tuple):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _tensors(item)
