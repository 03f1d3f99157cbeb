"""Writes down the operations that a function of tensors does, as torch dispatches them."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, fx
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map
from torch.utils.weak import WeakTensorKeyDictionary


def traced(call: Callable[..., Any], arguments: Sequence[Tensor]) -> fx.GraphModule:
    """What ``call`` does with ``arguments``, tensor by tensor: every operation below autograd, vmap and autocast, in order.

    Each node that stands for a tensor has one of its shape, strides and type, without memory, as ``meta["val"]``, and where it lies
    as ``meta["device"]``; numbers that are made into a tensor are attributes of the module. Torch's ``make_fx`` gives the same in
    ten times as long. Raises ValueError where the next call might do something else: where a number is asked of a tensor, or a
    shape goes by its values, and where a tensor comes from elsewhere, unless it is made of numbers on the way.
    """
    recorder = _Recorder()
    for number, tensor in enumerate(arguments):
        recorder.put(tensor, recorder.graph.placeholder(f"given_{number}"))
    with recorder:
        found = call(*arguments)
    recorder.graph.output(recorder.nodes_of(found))
    return fx.GraphModule(recorder.numbers, recorder.graph)


def copied(tensor: Tensor) -> Tensor:
    """A tensor of its own memory with the same values, which lies there in the same way."""
    return laid_as(tensor, tensor.stride())


def laid_as(tensor: Tensor, strides: Sequence[int]) -> Tensor:
    """The same values in memory of their own with these strides; along a dimension whose stride is 0, the first of them."""
    first = once(tensor, strides)
    found = torch.empty_strided(first.shape, strides, dtype=tensor.dtype, device=tensor.device)
    return found.copy_(first).expand_as(tensor)


def once(tensor: Tensor, strides: Sequence[int]) -> Tensor:
    """The values that memory with these strides holds: along a dimension whose stride is 0, the first of them."""
    return tensor[tuple(slice(None) if stride else slice(1) for stride in strides)]


def tidied(graph: fx.Graph) -> None:
    """Take out what nothing goes by, and what writes nothing."""
    graph.eliminate_dead_code(lambda node: node.is_impure() or bool(unsaid(node)))


def unsaid(node: fx.Node) -> list[fx.Node]:
    """What an operation writes into though its schema does not say so: the statistics of a norm in training."""
    if node.target not in _NORMS:
        return []
    *statistics, training = node.args[3:6]
    return [kept for kept in statistics if isinstance(kept, fx.Node)] if training else []


_NORMS = (
    torch.ops.aten.native_batch_norm.default,
    torch.ops.aten.cudnn_batch_norm.default,
    torch.ops.aten.miopen_batch_norm.default,
)


def written(node: fx.Node) -> bool:
    """Whether something is written into it, or into a view of it."""
    return any(into or written(user) for user in node.users for into in _ties(user, node))


def _ties(user: fx.Node, node: fx.Node) -> Iterator[bool]:
    """For each place where an operation is given ``node`` and does not merely read it: True where it writes into it, False where
    what comes out is a view of it.
    """
    if user.target is operator.getitem:
        yield False
        return
    if node in unsaid(user):
        yield True
    schema = getattr(user.target, "_schema", None)
    for place, argument in enumerate(schema.arguments if schema is not None else ()):
        given = user.args[place] if place < len(user.args) else user.kwargs.get(argument.name)
        if argument.alias_info is not None and node in (given if isinstance(given, (list, tuple)) else (given,)):
            yield argument.alias_info.is_write


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """A graph that grows by each operation dispatched while it is on."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.graph = fx.Graph()
        self.numbers: dict[str, Tensor] = {}
        # Not the tensors themselves: a step would hold all that it ever made.
        self._nodes = WeakTensorKeyDictionary()

    def put(self, tensor: Tensor, node: fx.Node) -> None:
        """Let ``node`` stand for ``tensor`` from now on."""
        node.meta["val"], node.meta["device"] = _laid(tensor), tensor.device
        self._nodes[tensor] = node

    def nodes_of(self, values: Any) -> Any:
        """The same with nodes in place of tensors."""
        return tree_map(self._node, values)

    def _node(self, value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        if value not in self._nodes:
            raise ValueError(
                "a tensor that the function is not given may be another one at the next call; hand it over"
            )
        return self._nodes[value]

    def _lifted(self, value: Tensor) -> Tensor:
        """Numbers made into a tensor: the same at every call, whatever is written into it."""
        name = f"numbers_{len(self.numbers)}"
        self.numbers[name] = value
        self.put(value, self.graph.get_attr(name))
        return value

    def __torch_dispatch__(
        self,
        func: torch._ops.OpOverload,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if func is torch.ops.aten.lift_fresh.default:
            func, args = torch.ops.aten.lift_fresh_copy.default, (self._lifted(*args),)
        found = func(*args, **(kwargs or {}))
        if not (found is None or isinstance(found, (Tensor, tuple, list))):
            if any(isinstance(value, Tensor) for value in args):
                raise ValueError(f"{func} asks for a number, which may be another one at the next call")
            return found
        if _as_many_as_there_are(func, args):
            raise ValueError(f"{func} gives as many as there are, which may be others at the next call")
        node = self.graph.call_function(func, self.nodes_of(args), self.nodes_of(kwargs or {}))
        if isinstance(found, Tensor):
            self.put(found, node)
        elif found is not None:
            node.meta["val"] = tree_map(_laid, found)
            for number, one in enumerate(found):
                if isinstance(one, Tensor):  # a gradient that is not asked for is None
                    self.put(one, self.graph.call_function(operator.getitem, (node, number)))
        return found


def _as_many_as_there_are(func: torch._ops.OpOverload, args: Sequence[Any]) -> bool:
    """Whether the shape of what comes out goes by values; where places are named by their numbers it does not."""
    if func is torch.ops.aten.index.Tensor:
        return any(places is not None and places.dtype in (torch.bool, torch.uint8) for places in args[1])
    return torch.Tag.dynamic_output_shape in func.tags


def _laid(value: Any) -> Any:
    """A tensor of the same shape, strides and type, without memory; what is none as it is."""
    if not isinstance(value, Tensor):
        return value
    return torch.empty_strided(value.shape, value.stride(), dtype=value.dtype, device="meta")
