"""The operations of a function of tensors, recorded once and played back."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, fx
from torch.fx.experimental.proxy_tensor import make_fx

from trainables.fused.kernels import turned


def recorded(call: Callable[..., Any], arguments: Sequence[Tensor]) -> Callable[..., Any]:
    """The operations that ``call`` does on tensors of these shapes and types, as a function for their like.

    Autograd's part is recorded too, so it is to be called without. Neither the arguments nor torch's generators are changed. Values
    are the same but for rounding, or to the last bit where torch is asked for deterministic algorithms: when a pack comes to play
    a recording depends on what was trained before it.
    """
    device = arguments[0].device
    with torch.random.fork_rng(devices=[device.index or 0] if device.type == "cuda" else []):
        with torch.enable_grad():
            module = make_fx(call)(*[tensor.clone() for tensor in arguments])
        _simplify(module.graph)
        if not torch.are_deterministic_algorithms_enabled():
            turned(module.graph)
        module.recompile()
        # On a GPU the interpreter would begin to compile.
        return _without_python(module, arguments) if device.type == "cpu" else module.forward


def _without_python(module: fx.GraphModule, arguments: Sequence[Tensor]) -> Callable[..., Any]:
    """The same by torch's own interpreter: what Python takes between two operations is a third of a small network's step.

    Torch would rather have it compiled, which takes a compiler of C++ and ten seconds or more. What the interpreter cannot take
    is left as it is, and so is what it would take long to read.
    """
    if len(module.graph.nodes) > LONGEST:
        return module.forward
    graph = fx.Graph()
    graph.output(graph.graph_copy(module.graph, {}))
    for node in graph.nodes:
        # It finds the overload by the types, as a call from Python does.
        if isinstance(node.target, torch._ops.OpOverload):
            node.target = node.target.overloadpacket
            node.kwargs = {name: value for name, value in node.kwargs.items() if name not in _DEFAULT}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            played: Callable[..., Any] = torch.jit.script(fx.GraphModule(module, graph)).forward
            with torch.no_grad():
                played(*[tensor.clone() for tensor in arguments])
    except Exception:
        return module.forward
    return played


_DEFAULT = ("device", "layout", "pin_memory")
"""Of tensors made in a step: left out they are what they are anyhow, and the interpreter does not know how fx writes them."""

LONGEST = 4000
"""Operations that are read in about two seconds; it takes more than twice as long to read twice as many."""


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
