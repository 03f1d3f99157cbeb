"""Writes down the operations that a function of tensors does, as torch dispatches them."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, fx
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map
from torch.utils.weak import WeakTensorKeyDictionary


def traced(call: Callable[..., Any], arguments: Sequence[Tensor]) -> fx.GraphModule:
    """What ``call`` does with ``arguments``, tensor by tensor: every operation below autograd, vmap and autocast, in order.

    Each node that stands for a tensor has one of its shape, strides and type, without memory, as ``meta["val"]``. Tensors that
    come from elsewhere are attributes of the module. Torch's ``make_fx`` gives the same in ten times as long. Raises ValueError
    where the function asks for a number out of a tensor: it might take another way the next time.
    """
    recorder = _Recorder()
    for number, tensor in enumerate(arguments):
        recorder.put(tensor, recorder.graph.placeholder(f"given_{number}"))
    with recorder:
        found = call(*arguments)
    recorder.graph.output(recorder.nodes_of(found))
    return fx.GraphModule(recorder.elsewhere, recorder.graph)


def copied(tensor: Tensor) -> Tensor:
    """A tensor of its own memory with the same values; along the dimensions where it is expanded it stays so."""
    once = tensor[tuple(slice(None) if stride else slice(1) for stride in tensor.stride())]
    return once.clone().expand_as(tensor)


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """A graph that grows by each operation dispatched while it is on."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.graph = fx.Graph()
        self.elsewhere: dict[str, Tensor] = {}
        # Not the tensors themselves: a step would hold all that it ever made.
        self._nodes = WeakTensorKeyDictionary()

    def put(self, tensor: Tensor, node: fx.Node) -> None:
        """Let ``node`` stand for ``tensor`` from now on."""
        node.meta["val"] = _laid(tensor)
        self._nodes[tensor] = node

    def nodes_of(self, values: Any) -> Any:
        """The same with nodes in place of tensors."""
        return tree_map(self._node, values)

    def _node(self, value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        if value not in self._nodes:
            name = f"held_{len(self.elsewhere)}"
            self.elsewhere[name] = value.detach()
            self.put(value, self.graph.get_attr(name))
        return self._nodes[value]

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if func is torch.ops.aten.lift_fresh.default:
            # Numbers that are made into a tensor are the same at every call, whatever is written into it.
            func = torch.ops.aten.lift_fresh_copy.default
        found = func(*args, **(kwargs or {}))
        if not (found is None or isinstance(found, (Tensor, tuple, list))):
            if any(isinstance(value, Tensor) for value in args):
                raise ValueError(
                    f"{func} asks for a number, which may be another one at the next call; leave it to tensors"
                )
            return found
        node = self.graph.call_function(func, self.nodes_of(args), self.nodes_of(kwargs or {}))
        if isinstance(found, Tensor):
            self.put(found, node)
        elif found is not None:
            node.meta["val"] = tree_map(_laid, found)
            for number, one in enumerate(found):
                if isinstance(one, Tensor):  # a gradient that is not asked for is None
                    self.put(one, self.graph.call_function(operator.getitem, (node, number)))
        return found


def _laid(value: Any) -> Any:
    """A tensor of the same shape, strides and type, without memory; what is none as it is."""
    if not isinstance(value, Tensor):
        return value
    return torch.empty_strided(value.shape, value.stride(), dtype=value.dtype, device="meta")
