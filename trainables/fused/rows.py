"""The tensors of several modules that are built alike, a row for each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True, slots=True)
class Slot:
    """Where a parameter lies in a row."""

    name: str
    begin: int
    end: int
    shape: torch.Size


class Rows:
    """``flat``, [K, P], holds the parameters ``names`` of K modules; ``held`` all their other tensors by name, [K, ...].

    The modules' own tensors become views of their row, so that all there is for one module (saving, loading, evaluation) sees what
    is done to all of them at once. Matrices come first in a row, vectors after them, each in the module's order: what is decayed
    and what is not lies together.
    """

    def __init__(self, modules: Sequence[nn.Module], names: Sequence[str]) -> None:
        first = dict(modules[0].named_parameters())
        ordered = [name for name in names if first[name].ndim >= 2] + [name for name in names if first[name].ndim < 2]
        self.slots: list[Slot] = []
        begin = 0
        for name in ordered:
            shape = first[name].shape
            self.slots.append(Slot(name=name, begin=begin, end=begin + prod(shape), shape=shape))
            begin += prod(shape)
        self._names = list(names)
        self._parameters = [[dict(module.named_parameters())[slot.name] for slot in self.slots] for module in modules]
        self._places = [dict(zip(own, self.slots, strict=True)) for own in self._parameters]
        self.flat = torch.stack([torch.cat([p.detach().reshape(-1) for p in own]) for own in self._parameters])
        self.held: dict[str, Tensor] = {}
        with torch.no_grad():
            for member, own in enumerate(self._parameters):
                for parameter, slot in zip(own, self.slots, strict=True):
                    parameter.data = self.part(self.flat, member, slot)
            self._hold(modules, set(names))

    def _hold(self, modules: Sequence[nn.Module], trained: set[str]) -> None:
        """Frozen parameters and buffers, stacked."""
        frozen = [
            {name: parameter for name, parameter in module.named_parameters() if name not in trained}
            for module in modules
        ]
        for name in frozen[0]:
            self.held[name] = torch.stack([own[name].detach() for own in frozen])
            for member, own in enumerate(frozen):
                own[name].data = self.held[name][member]
        buffers = [dict(module.named_buffers()) for module in modules]
        for name in buffers[0]:
            self.held[name] = torch.stack([tensors[name].detach() for tensors in buffers])
            for member, tensors in enumerate(buffers):
                tensors[name].data = self.held[name][member]  # the tensor stays the same for all that know it

    def __len__(self) -> int:
        return len(self.flat)

    def part(self, rows: Tensor, member: int, slot: Slot) -> Tensor:
        """A parameter of one member in [K, P], as a view in its own shape."""
        return rows[member, slot.begin : slot.end].view(slot.shape)

    def parameters(self, member: int) -> Iterator[tuple[nn.Parameter, Slot]]:
        """The parameters of a member that lie in its row, in the row's order."""
        return zip(self._parameters[member], self.slots, strict=True)

    def in_order(self, member: int) -> list[nn.Parameter]:
        """The same parameters in the module's order."""
        found = {slot.name: parameter for parameter, slot in self.parameters(member)}
        return [found[name] for name in self._names]

    def slot_of(self, member: int, parameter: nn.Parameter) -> Slot:
        """Where a member's parameter lies."""
        return self._places[member][parameter]

    def point(self, member: int, gradient: Tensor) -> None:
        """Let a member's parameters have their part of all gradients, [K, P], as their own; views, not copies."""
        for parameter, slot in self.parameters(member):
            parameter.grad = self.part(gradient, member, slot)

    def take(self, member: int, gradient: Tensor) -> None:
        """Have in [K, P] what a member's parameters have as their gradients, where other tensors were put there.

        Raises ValueError where there is none any more: alone that parameter would not be touched, and a pack's step is of all.
        """
        for parameter, slot in self.parameters(member):
            part = self.part(gradient, member, slot)
            if parameter.grad is None:
                raise ValueError(f"the gradient of {slot.name} was taken away, and a pack's step is of all parameters")
            if parameter.grad.data_ptr() != part.data_ptr():
                part.copy_(parameter.grad)

    def settle(self, member: int) -> None:
        """Have a member's parameters in its row again, where other tensors were put there."""
        for parameter, slot in self.parameters(member):
            part = self.part(self.flat, member, slot)
            if parameter.data_ptr() != part.data_ptr():
                part.copy_(parameter.detach())
                parameter.data = part

    def shaped(self) -> dict[str, Tensor]:
        """All members' parameters by name, [K, ...] each."""
        return shaped(self.flat, self.slots)


def shaped(flat: Tensor, slots: Sequence[Slot]) -> dict[str, Tensor]:
    """The parameters in [K, P] by name, [K, ...] each: views."""
    parts = flat.split_with_sizes([slot.end - slot.begin for slot in slots], 1)
    return {slot.name: part.view(len(flat), *slot.shape) for slot, part in zip(slots, parts, strict=True)}
