"""The operations of a function of tensors, recorded once and played back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, fx

from trainables.fused.interpreted import interpreted
from trainables.fused.kernels import turned
from trainables.fused.recorder import copied, traced


def recorded(call: Callable[..., Any], arguments: Sequence[Tensor]) -> Callable[..., Any]:
    """The operations that ``call`` does on tensors of these shapes and types, as a function for their like.

    Autograd's part is recorded too, so it is to be called without. Neither the arguments nor torch's generators are changed. Values
    are the same but for rounding, or to the last bit where torch is asked for deterministic algorithms: when a pack comes to play
    a recording depends on what was trained before it.
    """
    device = arguments[0].device
    with torch.random.fork_rng(devices=[device.index or 0] if device.type == "cuda" else []):
        with torch.enable_grad():
            module = traced(call, [copied(tensor) for tensor in arguments])
        _simplify(module.graph)
        if device.type == "cpu" and not torch.are_deterministic_algorithms_enabled():
            turned(module.graph)
        # On a GPU the interpreter would begin to compile.
        played = interpreted(module, arguments) if device.type == "cpu" else None
    if played is not None:
        return played
    module.recompile()
    return module.forward


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
