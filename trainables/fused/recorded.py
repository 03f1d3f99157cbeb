"""The operations of a function of tensors, recorded once and played back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, fx

from trainables.fused.general import generalised
from trainables.fused.graphed import Graphed
from trainables.fused.interpreted import interpreted
from trainables.fused.kernels import turned
from trainables.fused.recorder import copied, laid_as, tidied, traced


class Recording:
    """The operations that a function does on tensors that lie as ``arguments`` do, as they were recorded once.

    The first ``stacked`` arguments have a line for each member of a pack, [K, ...]; the others are what all of them share. When
    a smaller pack comes, it is made one for any from two members up to its own ``size``, if the smallest does the same.

    Autograd's part is recorded too, so it is to be played without. Neither arguments nor torch's generators are changed by
    recording. Values are the same but for rounding, or to the last bit where torch is asked for deterministic algorithms: when a
    pack comes to play a recording depends on what was trained before it. On a GPU it is played as a CUDA graph from the call
    ``captured_from`` on, where that is worth it. Raises ValueError where the next call might do something else.
    """

    def __init__(
        self, call: Callable[..., Any], arguments: Sequence[Tensor], stacked: int, *, captured_from: int = 1
    ) -> None:
        self.size, self._captured_from = len(arguments[0]), captured_from
        module = _recorded(call, [copied(tensor) for tensor in arguments])
        self._own = self._player(module, arguments)
        self._general: Callable[..., Any] | None = None
        self._source = (call, module, stacked) if self.size > FEWEST else None

    def player(self, arguments: Sequence[Tensor]) -> Callable[..., Any] | None:
        """What plays it for such arguments; None where packs of their size do something else."""
        members = len(arguments[0])
        if members == self.size:
            return self._own
        if not FEWEST <= members < self.size:
            return None
        if self._source is not None:
            self._general = self._generalised(*self._source, arguments)
            self._source = None  # it is not needed again
        return self._general

    def _generalised(
        self, call: Callable[..., Any], module: fx.GraphModule, stacked: int, arguments: Sequence[Tensor]
    ) -> Callable[..., Any] | None:
        lines, shared = arguments[:stacked], arguments[stacked:]
        try:
            few = _recorded(call, [*(_lines(tensor, FEWEST) for tensor in lines), *map(copied, shared)])
            generalised(module, self.size, few, FEWEST)
        except Exception:
            return None  # of another size; its own is as good as ever
        return self._player(module, arguments)

    def _player(self, module: fx.GraphModule, arguments: Sequence[Tensor]) -> Callable[..., Any]:
        """What plays a recording with little of Python or none; on a GPU the interpreter would begin to compile."""
        device = arguments[0].device
        if device.type == "cuda":
            return Graphed(module, self._captured_from)
        if device.type == "cpu":
            with torch.random.fork_rng(devices=[]):
                played = interpreted(module, arguments)
            if played is not None:
                return played
        module.recompile()
        return module.forward


FEWEST = 2
"""Members of the pack that one is compared with: what goes by their number in another way than in proportion is not the same for
the smallest and the largest. Of a single member much is a view that is none of several."""


def _recorded(call: Callable[..., Any], arguments: Sequence[Tensor]) -> fx.GraphModule:
    """The operations for these arguments, which may be written into."""
    device = arguments[0].device
    with torch.random.fork_rng(devices=[device.index or 0] if device.type == "cuda" else []), torch.enable_grad():
        module = traced(call, arguments)
    _simplify(module.graph)
    if device.type == "cpu" and not torch.are_deterministic_algorithms_enabled():
        turned(module.graph)
    return module


def _lines(tensor: Tensor, members: int) -> Tensor:
    """The first lines of a tensor [K, ...], in memory of their own, which lie as those do."""
    return laid_as(tensor[:members], tensor.stride())


def _simplify(graph: fx.Graph) -> None:
    """Without what only autograd needed, and views that change nothing."""
    for node in list(graph.nodes):
        if node.op != "call_function" or node.target not in _VIEWS or any(map(_turns_in_place, node.users)):
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
    tidied(graph)


def _turns_in_place(user: fx.Node) -> bool:
    """Whether it changes the shape of the very tensor that it is given."""
    return torch.Tag.inplace_view in getattr(user.target, "tags", ())


_VIEWS = (
    torch.ops.aten.detach.default,
    torch.ops.aten.view.default,
    torch.ops.aten._unsafe_view.default,
    torch.ops.aten.expand.default,
    torch.ops.aten.permute.default,
    torch.ops.aten.alias.default,
)
