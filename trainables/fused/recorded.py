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
    """What ``call`` does to tensors of these shapes and types, and nothing else of it: a function for their like.

    Autograd's part is recorded too, so it is to be called without. Neither the arguments nor torch's generators are changed.
    """
    device = arguments[0].device
    with torch.random.fork_rng(devices=[device.index or 0] if device.type == "cuda" else []):
        with torch.enable_grad():
            module = make_fx(call)(*[tensor.clone() for tensor in arguments])
        _simplify(module.graph)
        turned(module.graph)
        module.recompile()
    # On a GPU the interpreter would begin to compile.
    return _without_python(module) if device.type == "cpu" else module.forward


def _without_python(module: fx.GraphModule) -> Callable[..., Any]:
    """The same by torch's own interpreter: what Python takes between two operations is a third of a small network's step.

    Torch would rather have it compiled, which takes a compiler of C++ and ten seconds or more. What the interpreter cannot take
    is left as it is.
    """
    graph = fx.Graph()
    graph.output(graph.graph_copy(module.graph, {}))
    for node in graph.nodes:
        if isinstance(
            node.target, torch._ops.OpOverload
        ):  # it finds the overload by the types, as Python's own call does
            node.target = node.target.overloadpacket
            node.kwargs = {name: value for name, value in node.kwargs.items() if name not in _DEFAULT}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            scripted = torch.jit.script(fx.GraphModule(module, graph))
    except Exception:
        return module.forward
    played: Callable[..., Any] = scripted.forward
    return played


_DEFAULT = ("device", "layout", "pin_memory")
"""Of tensors made in a step: on the processor they are what they are anyhow, and the interpreter takes no constants for them."""


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
