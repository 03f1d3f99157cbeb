"""The operations of a function of tensors, recorded once and played back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, fx

from trainables.fused.general import ParticularError, generalised
from trainables.fused.interpreted import interpreted
from trainables.fused.kernels import turned
from trainables.fused.recorder import copied, traced


class Recording:
    """The operations that a function does on tensors of the shapes and types of ``arguments``, as they were recorded once.

    The first ``stacked`` arguments have a line for each member of a pack, [K, ...]; the others are what all of them share. When
    a pack of another size comes, two or more, it is made one for any such size, if these do the same.

    Autograd's part is recorded too, so it is to be played without. Neither arguments nor torch's generators are changed by
    recording. Values are the same but for rounding, or to the last bit where torch is asked for deterministic algorithms: when a
    pack comes to play a recording depends on what was trained before it.
    """

    def __init__(self, call: Callable[..., Any], arguments: Sequence[Tensor], stacked: int) -> None:
        self._call, self._stacked, self._size = call, stacked, len(arguments[0])
        self._module = _recorded(call, [copied(tensor) for tensor in arguments])
        self._own = _player(self._module, arguments)
        self._general: Callable[..., Any] | None = None
        self._particular = self._size == 1

    def player(self, arguments: Sequence[Tensor]) -> Callable[..., Any] | None:
        """What plays it for such arguments; None where packs of other sizes do something else."""
        members = len(arguments[0])
        if members == self._size:
            return self._own
        if self._general is None and members > 1 and not self._particular:
            self._general = self._generalised(arguments)
            self._particular = self._general is None
        return self._general if members > 1 else None

    def _generalised(self, arguments: Sequence[Tensor]) -> Callable[..., Any] | None:
        few = FEW if self._size != FEW else FEW + 1
        lines = [_lines(tensor, few) for tensor in arguments[: self._stacked]]
        shared = [copied(tensor) for tensor in arguments[self._stacked :]]
        try:
            generalised(self._module, self._size, _recorded(self._call, [*lines, *shared]), few)
        except ParticularError:
            return None
        return _player(self._module, arguments)


FEW = 2
"""Members of the second pack that is recorded: what depends on the size in another way than in proportion shows itself there."""


def _recorded(call: Callable[..., Any], arguments: Sequence[Tensor]) -> fx.GraphModule:
    """The operations for these arguments, which may be written into."""
    device = arguments[0].device
    with torch.random.fork_rng(devices=[device.index or 0] if device.type == "cuda" else []), torch.enable_grad():
        module = traced(call, arguments)
    _simplify(module.graph)
    if device.type == "cpu" and not torch.are_deterministic_algorithms_enabled():
        turned(module.graph)
    return module


def _player(module: fx.GraphModule, arguments: Sequence[Tensor]) -> Callable[..., Any]:
    """What plays a recording without Python, where it can be had; on a GPU the interpreter would begin to compile."""
    if arguments[0].device.type == "cpu":
        with torch.random.fork_rng(devices=[]):
            played = interpreted(module, arguments)
        if played is not None:
            return played
    module.recompile()
    return module.forward


def _lines(tensor: Tensor, members: int) -> Tensor:
    """So many lines as a tensor's [K, ...], in memory of their own, one after the other and again from the first."""
    if tensor.stride(0) == 0:
        return copied(tensor[:1]).expand(members, *tensor.shape[1:])
    return tensor[torch.arange(members, device=tensor.device) % len(tensor)]


def _simplify(graph: fx.Graph) -> None:
    """Without what only autograd needed, and views that change nothing."""
    for node in list(graph.nodes):
        if node.op != "call_function" or node.target not in _VIEWS:
            continue
        source = node.args[0]
        before, after = source.meta.get("val"), node.meta.get("val")
        if (
            before is not None
            and after is not None
            and before.shape == after.shape
            and before.stride() == after.stride()
        ):
            node.replace_all_uses_with(source)
    graph.eliminate_dead_code()


_VIEWS = (
    torch.ops.aten.detach.default,
    torch.ops.aten.view.default,
    torch.ops.aten._unsafe_view.default,
    torch.ops.aten.expand.default,
    torch.ops.aten.permute.default,
    torch.ops.aten.alias.default,
)
