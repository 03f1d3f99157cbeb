"""The rows of a pack as its optimizers see them: blocks with the same settings, and what is remembered of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from trainables.fused.rows import Rows

Group = Mapping[str, Any]
"""A parameter group of a torch optimizer: its settings, ``params`` and the ``lr`` of this step."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Span:
    """Columns ``begin`` to ``end`` of all rows: one parameter group in every member's optimizer, those of each in ``groups``."""

    begin: int
    end: int
    groups: Sequence[Group]

    def of(self, rows: Tensor) -> Tensor:
        """These columns of [K, P]."""
        return rows[:, self.begin : self.end]

    def column(self, name: str, like: Tensor) -> Tensor:
        """A setting of all members, [K, 1]."""
        return column([group[name] for group in self.groups], like)


def add_decay(spans: Sequence[Span], weights: Tensor, gradient: Tensor) -> None:
    """Coupled decay (L2), in place: each weight times its decay is added to its gradient."""
    for span in spans:
        if any(group["weight_decay"] for group in span.groups):
            span.of(gradient).addcmul_(span.of(weights), span.column("weight_decay", weights))


def decay(spans: Sequence[Span], weights: Tensor) -> None:
    """Decoupled decay, in place: each weight times 1 - lr * weight_decay."""
    for span in spans:
        shares = [1 - group["lr"] * group["weight_decay"] for group in span.groups]
        if any(share != 1 for share in shares):
            span.of(weights).mul_(column(shares, weights))


def spans(rows: Rows, optimizers: Sequence[torch.optim.Optimizer]) -> list[Span] | None:
    """The parameter groups of all members as columns of the rows; None where they do not lie so, or leave a parameter out."""
    counts = {len(optimizer.param_groups) for optimizer in optimizers}
    if len(counts) != 1:
        return None
    found = []
    for number in range(counts.pop()):
        groups = [optimizer.param_groups[number] for optimizer in optimizers]
        ranges = {_range(rows, member, group) for member, group in enumerate(groups)}
        if len(ranges) != 1 or None in ranges:
            return None
        begin, end = next(iter(ranges)) or (0, 0)
        found.append(Span(begin=begin, end=end, groups=groups))
    return found if sum(span.end - span.begin for span in found) == rows.flat.shape[1] else None


def _range(rows: Rows, member: int, group: Group) -> tuple[int, int] | None:
    """The columns that a group's parameters fill without a gap."""
    slots = [rows.slot_of(member, parameter) for parameter in group["params"]]
    begin, end = min(slot.begin for slot in slots), max(slot.end for slot in slots)
    return (begin, end) if sum(slot.end - slot.begin for slot in slots) == end - begin else None


def remembered(
    rows: Rows, optimizers: Sequence[torch.optim.Optimizer], names: Sequence[str], *, counted: bool = True
) -> tuple[dict[str, Tensor], list[Tensor]]:
    """What all members' optimizers remember under ``names``, [K, P] each, and their steps, K scalars.

    The optimizers hold views of these from then on; what one does not remember yet is 0, as torch begins with. The steps are
    not theirs until they are settled.
    """
    tensors = {name: torch.zeros_like(rows.flat) for name in names}
    steps = []
    for member, optimizer in enumerate(optimizers):
        step = 0.0
        fused = optimizer.param_groups[0].get("fused")  # all groups are alike in this
        for parameter, slot in rows.parameters(member):
            state = optimizer.state[parameter]
            step = float(state.get("step", 0.0))
            for name, tensor in tensors.items():
                view = tensor[member, slot.begin : slot.end].view(slot.shape)
                if state.get(name) is not None:
                    view.copy_(state[name])
                state[name] = view
            if counted:
                state.setdefault("step", torch.tensor(step, device=parameter.device if fused else "cpu"))
        steps.append(torch.tensor(step))
    return tensors, steps


def settle(rows: Rows, optimizers: Sequence[torch.optim.Optimizer], steps: Sequence[Tensor]) -> None:
    """Write the steps into the members' optimizers, in the type that each keeps them in."""
    own, wanted = [], []
    for member, (optimizer, step) in enumerate(zip(optimizers, steps, strict=True)):
        for parameter, _ in rows.parameters(member):
            state = optimizer.state[parameter]
            if isinstance(state["step"], Tensor):
                own.append(state["step"])
                wanted.append(step)
            else:
                state["step"] = int(step)
    if own:
        torch._foreach_copy_(own, wanted)


def column(values: Sequence[float], like: Tensor) -> Tensor:
    """A number for each member, [K, 1], of the rows' type; computed in double precision until then. It is not to be written to."""
    return _column(tuple(values), like.dtype, like.device)


@lru_cache(maxsize=64)
def _column(values: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Most are the same in every step."""
    found = torch.tensor(values, dtype=torch.float64).to(dtype).unsqueeze(1)
    # From other memory than this kind it would wait until the GPU has done all that it was given.
    return found.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else found.to(device)


def alike(groups: Sequence[Group], names: Sequence[str]) -> Iterator[tuple[Group, list[int]]]:
    """Members whose settings under these names are the same, together: one of their groups, and their numbers."""
    found: dict[tuple[Any, ...], list[int]] = {}
    for member, group in enumerate(groups):
        found.setdefault(tuple([_comparable(group[name]) for name in names]), []).append(member)
    for members in found.values():
        yield groups[members[0]], members


def _comparable(setting: Any) -> Any:
    return tuple(setting) if isinstance(setting, list) else setting
