"""Operations of a recorded step for which torch has a faster kernel in another layout."""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import fx

from trainables.fused.recorder import tidied, written

aten = torch.ops.aten

SHORT = 16
"""Classes below which a softmax over the last dimension is slow on a processor, and so is what makes them.

Its kernel goes through that dimension a vector at a time, and number by number where it is shorter than one: for 10 classes it
takes ten times as long as the kernel for any other dimension, which goes through many samples at once. A product of matrices with
so few columns takes three times as long as the same one across.
"""

VECTOR = 8
"""Channels from which the largest of a window is sought for many of them at once, in a third of the time with what is copied."""

_FORWARD = (aten._log_softmax.default, aten._softmax.default)
_BACKWARD = (aten._log_softmax_backward_data.default, aten._softmax_backward_data.default)
_PRODUCTS = (aten.bmm.default, aten.baddbmm.default)
_VIEWS = (aten.transpose.int, aten.permute.default)

Across = dict[fx.Node, fx.Node]
"""What there is with its last two dimensions exchanged, in memory too, by what it stands for."""


def turned(graph: fx.Graph) -> None:
    """Give the operations of a graph the layouts in which torch is fast; values are the same to rounding."""
    _softmaxes(graph)
    _pools(graph)
    tidied(graph)


def _pools(graph: fx.Graph) -> None:
    """Let the largest of each window be sought for all channels at once, which lie side by side there."""
    for node in list(graph.nodes):
        if node.op != "call_function" or node.target is not aten.max_pool2d_with_indices.default:
            continue
        given = node.args[0]
        shape = given.meta["val"].shape
        if len(shape) != 4 or shape[1] < VECTOR or not given.meta["val"].is_contiguous():
            continue
        with graph.inserting_before(node):
            beside = graph.call_function(aten.clone.default, (given,), {"memory_format": torch.channels_last})
            found = graph.call_function(node.target, (beside, *node.args[1:]), node.kwargs)
        for value in list(node.users):  # the values, and where each was found
            with graph.inserting_before(value):
                own = graph.call_function(operator.getitem, (found, value.args[1]))
                copy = _copied(graph, own)
            copy.meta = dict(value.meta)
            value.replace_all_uses_with(copy)


def _softmaxes(graph: fx.Graph) -> None:
    """Exchange the last two dimensions around softmaxes over few classes."""
    across: Across = {}
    for node in list(graph.nodes):
        if node.op != "call_function" or node.target not in (*_FORWARD, *_BACKWARD):
            continue
        tensors = 1 if node.target in _FORWARD else 2
        value = node.meta["val"]  # of the same shape as what it is given
        if (
            any(map(written, (node, *node.args[:tensors])))
            or value.ndim < 2
            or node.args[tensors] % value.ndim != value.ndim - 1
            or value.shape[-1] >= SHORT
        ):
            continue
        for given in node.args[:tensors]:
            if given not in across and _narrow(given):
                _product_across(graph, given, across)
        with graph.inserting_before(node):
            # What the node is given may have been replaced meanwhile.
            exchanged = [across.get(given) or _copied(graph, _view(graph, given)) for given in node.args[:tensors]]
            found = graph.call_function(node.target, (*exchanged, value.ndim - 2, *node.args[tensors + 1 :]))
            _put(graph, node, found, across)


def _narrow(node: Any) -> bool:
    """Whether it is a product of many rows and few columns, [K, N, few], with no more than a bias."""
    if node.target not in _PRODUCTS or node.kwargs or len(node.args) != 2 + _PRODUCTS.index(node.target):
        return False
    rows, columns = node.meta["val"].shape[1:]
    return bool(columns < SHORT <= rows and all(given.meta["val"].ndim == 3 for given in node.args))


def _product_across(graph: fx.Graph, node: fx.Node, across: Across) -> None:
    """The same product with sides exchanged: (x w)' = w' x'."""
    with graph.inserting_before(node):
        *bias, first, second = [_view(graph, given) for given in node.args]
        product = graph.call_function(_PRODUCTS[len(bias)], (*bias, second, first))
        _put(graph, node, product, across)


def _put(graph: fx.Graph, node: fx.Node, found: fx.Node, across: Across) -> None:
    """Let what uses ``node`` use what was ``found`` across: by a view where strides are all the same to it, else by a copy."""
    view = _view(graph, found)
    copy = _copied(graph, view)
    for stand_in in (view, copy):
        stand_in.meta["val"] = node.meta["val"]
        across[stand_in] = found
    for user in list(node.users):
        user.replace_input_with(node, view if _takes_strides(user, node) else copy)


def _takes_strides(user: fx.Node, node: fx.Node) -> bool:
    """Whether it is as fast with ``node`` across, and what it gives lies in memory as ever."""
    if user.target in _VIEWS:
        return all(other.target in _PRODUCTS for other in user.users)
    if user.target is aten.sum.dim_IntList:
        return bool(node.meta["val"].ndim == 3 and user.meta["val"].ndim == 2)
    return user.target in (*_PRODUCTS, aten.gather.default)


def _view(graph: fx.Graph, tensor: Any) -> fx.Node:
    """The last two dimensions exchanged."""
    return graph.call_function(aten.transpose.int, (tensor, -2, -1))


def _copied(graph: fx.Graph, tensor: fx.Node) -> fx.Node:
    """The same in memory in the order of its dimensions."""
    return graph.call_function(aten.clone.default, (tensor,), {"memory_format": torch.contiguous_format})
