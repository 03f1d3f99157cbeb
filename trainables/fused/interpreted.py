"""Recorded operations in torch's own interpreter (TorchScript)."""

from __future__ import annotations

import operator
import resource
import threading
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, fx

from trainables.fused.recorder import copied, unsaid

_torch: Any = torch._C


def interpreted(module: fx.GraphModule, arguments: Sequence[Tensor]) -> Callable[..., Any] | None:
    """A function that does what a graph of torch's operations says, without Python; None where the interpreter cannot take it.

    What Python takes between two operations is a third of a small network's step. Torch would rather have it compiled, which takes
    a compiler of C++ and ten seconds or more. The graph is handed over operation by operation; as the source that
    ``torch.jit.script`` reads it takes ten times as long. ``arguments`` are some that it may be called with; nothing is written
    into them.
    """
    if len(module.graph.nodes) > longest() or not _moving(module.graph) or _left_out(module.graph):
        return None
    try:
        played: Callable[..., Any] = _torch._create_function_from_graph("recorded", _Translation().of(module))
        with torch.no_grad():
            played(*[copied(tensor) for tensor in arguments])
    except Exception:
        return None
    return played


MOST, STACK_OF_ONE, USUAL_STACK = 4000, 2048, 2 << 20
"""Operations that are read in a second; bytes of the stack for each, of which torch's own passes, which call themselves from one to
the next, take a third; and what a thread has where the system sets no limit."""


def longest() -> int:
    """Operations that this process's threads have the stack for: too many end the process, without an exception."""
    limit, _ = resource.getrlimit(resource.RLIMIT_STACK)
    asked_for = threading.stack_size()
    threading.stack_size(asked_for)  # who asks sets it to none
    stack = asked_for or (USUAL_STACK if limit == resource.RLIM_INFINITY else limit)
    return min(MOST, stack // STACK_OF_ONE)


def _moving(graph: fx.Graph) -> bool:
    """Whether all that comes out goes by what is given: the interpreter would hand out the same tensor each time."""
    moving: set[fx.Node] = set()
    for node in graph.nodes:
        if node.op == "placeholder" or not moving.isdisjoint(node.all_input_nodes):
            moving.add(node)
    *_, last = graph.nodes
    return moving.issuperset(last.all_input_nodes)


def _left_out(graph: fx.Graph) -> bool:
    """Whether something is written that the interpreter does not know of, and that it would so leave out, or do once for twice."""
    norms = [node for node in graph.nodes if unsaid(node)]
    into = [_source(kept) for node in norms for kept in unsaid(node)]
    return any(not node.users for node in norms) or len({*into}) < len(into)


def _source(view: fx.Node) -> fx.Node:
    """What a view is one of."""
    first = view.args[0] if view.op == "call_function" else None
    return _source(first) if isinstance(first, fx.Node) else view


class _Translation:
    """A graph of the interpreter's, and the values in it by the nodes they stand for."""

    def __init__(self) -> None:
        self._graph = _torch.Graph()
        self._values: dict[fx.Node, Any] = {}

    def of(self, module: fx.GraphModule) -> Any:
        """The graph for a module's, whose operations are torch's."""
        for node in module.graph.nodes:
            if node.op == "placeholder":
                self._values[node] = self._graph.addInput(node.name)
            elif node.op == "get_attr":
                self._values[node] = self._graph.insertConstant(getattr(module, node.target))
            elif node.op == "output":
                self._end(node.args[0])
            elif node.target is operator.getitem:
                source, number = node.args
                self._values[node] = self._values[source][number]
            else:
                self._values[node] = self._operation(node)
        self._graph.lint()
        return self._graph

    def _end(self, found: Any) -> None:
        several = isinstance(found, (tuple, list))
        for node in found if several else (found,):
            self._graph.registerOutput(self._values[node])
        if several:
            self._graph.makeMultiOutputIntoTuple()

    def _operation(self, node: fx.Node) -> Any:
        """What an operation gives: a value, or a list of them."""
        schema: Any = node.target._schema  # type: ignore[union-attr]
        if any(_written(one) and not isinstance(one.type, torch.TensorType) for one in schema.arguments):
            raise NotImplementedError("the interpreter leaves out what is written into the tensors of a list")
        given = [
            self._given(
                node.args[place] if place < len(node.args) else node.kwargs.get(one.name, one.default_value), one.type
            )
            for place, one in enumerate(schema.arguments)
        ]
        made = self._made(schema.name, given, len(schema.returns))
        for one, value in zip(schema.returns, made.outputs(), strict=True):
            value.setType(one.type)
        if [str(one.type) for one in schema.returns] != ["List[Tensor]"]:
            return made.output() if len(schema.returns) == 1 else list(made.outputs())
        # How many there are is known from the graph; the interpreter is to be told.
        return list(self._made("prim::ListUnpack", [made.output()], len(node.meta["val"])).outputs())

    def _made(self, kind: str, given: Sequence[Any], returns: int) -> Any:
        return self._graph.insertNode(self._graph.create(kind, given, returns))

    def _given(self, value: Any, kind: Any) -> Any:
        """A value that an operation is given, as the type that it asks for."""
        if isinstance(value, fx.Node):
            return self._values[value]
        if isinstance(kind, torch.OptionalType):
            kind = kind.getElementType()
        if not isinstance(value, (list, tuple)):
            return self._graph.insertConstant(_constant(value, kind))
        inner = kind.getElementType()
        if value and not any(isinstance(one, fx.Node) for one in value):
            return self._graph.insertConstant([_constant(one, inner) for one in value])
        made = self._made("prim::ListConstruct", [self._given(one, inner) for one in value], 1)
        made.output().setType(kind)
        return made.output()


def _written(argument: Any) -> bool:
    return argument.alias_info is not None and bool(argument.alias_info.is_write)


def _constant(value: Any, kind: Any) -> Any:
    """A number as the interpreter has it, which tells whole ones from others and has numbers for torch's layouts in memory."""
    if isinstance(kind, torch.FloatType) and value is not None:
        return float(value)
    return _FORMATS.get(value, value) if isinstance(value, torch.memory_format) else value


_FORMATS = {
    torch.contiguous_format: 0,
    torch.preserve_format: 1,
    torch.channels_last: 2,
    torch.channels_last_3d: 3,
}
