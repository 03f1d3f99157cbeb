"""Operations of a recorded step for which torch has a faster kernel in another layout."""

from __future__ import annotations

from typing import Any

import torch
from torch import fx

aten = torch.ops.aten

SHORT = 16
"""Classes below which a softmax over the last dimension is slow on a processor.

Its kernel goes through that dimension a vector at a time, and number by number where it is shorter than one: for 10 classes it
takes ten times as long as the kernel for any other dimension, which goes through many samples at once.
"""

_FORWARD = (aten._log_softmax.default, aten._softmax.default)
_BACKWARD = (aten._log_softmax_backward_data.default, aten._softmax_backward_data.default)


def turned(graph: fx.Graph) -> None:
    """Exchange the last two dimensions around softmaxes over few classes; values are the same to rounding."""
    for node in list(graph.nodes):
        if node.op != "call_function" or node.target not in (*_FORWARD, *_BACKWARD):
            continue
        tensors = 1 if node.target in _FORWARD else 2
        given, dim, rest = node.args[:tensors], node.args[tensors], node.args[tensors + 1 :]
        value = node.meta["val"]  # of the same shape as what it is given, which may be of another such node
        if (
            value.device.type != "cpu"
            or value.ndim < 2
            or dim % value.ndim != value.ndim - 1
            or value.shape[-1] >= SHORT
        ):
            continue
        with graph.inserting_before(node):
            across = [_swapped(graph, tensor) for tensor in given]
            found = graph.call_function(node.target, (*across, value.ndim - 2, *rest))
            node.replace_all_uses_with(_swapped(graph, found))
        graph.erase_node(node)


def _swapped(graph: fx.Graph, tensor: Any) -> fx.Node:
    """The last two dimensions exchanged, in memory too."""
    view = graph.call_function(aten.transpose.int, (tensor, -2, -1))
    return graph.call_function(aten.clone.default, (view,), {"memory_format": torch.contiguous_format})
