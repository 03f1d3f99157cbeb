"""A recording of a pack's step for packs of any size, from two that were made of packs of different sizes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx
from torch.utils._pytree import tree_map


class ParticularError(Exception):
    """A step of one size does something else than one of another size."""


@dataclass(frozen=True, slots=True)
class _Members:
    """So many times the number of members."""

    times: int


def generalised(module: fx.GraphModule, size: int, other: fx.GraphModule, its: int) -> None:
    """Make ``module``, recorded of ``size`` members, one of any number of them between that and ``its``.

    ``other`` is the same step recorded of ``its`` members. Numbers that differ between the two, all of them in proportion to the
    members, are reckoned from the first argument, [K, ...], at each call. Raises ParticularError, and leaves the module as it was,
    where anything else differs.
    """
    nodes, others = [*module.graph.nodes], [*other.graph.nodes]
    mine, its_own = ([(node.op, node.target, sorted(node.kwargs)) for node in part] for part in (nodes, others))
    if mine != its_own:
        raise ParticularError
    known = dict(zip(others, nodes, strict=True))
    for twin, node in known.items():
        if node.op == "get_attr" and not torch.equal(getattr(module, node.target), getattr(other, twin.target)):
            raise ParticularError
    found = {node: _merged(_given(node), _given(twin), size, its, known) for twin, node in known.items()}
    _reckoned(module.graph, found)


def _given(node: fx.Node) -> list[Any]:
    """All that an operation is given, what has a name in the order of the names."""
    return [*node.args, *(node.kwargs[name] for name in sorted(node.kwargs))]


def _merged(one: Any, other: Any, size: int, its: int, known: Mapping[fx.Node, fx.Node]) -> Any:
    """What stands for both of two values that an operation is given."""
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)) and len(one) == len(other):
        return [_merged(*pair, size, its, known) for pair in zip(one, other, strict=True)]
    if isinstance(other, fx.Node):
        other = known[other]
    # What is not equal to itself is not a number.
    if type(one) is type(other) and (one == other or (one != one and other != other)):
        return one
    if type(one) is type(other) is int and one % size == 0 and one // size * its == other:
        return _Members(one // size)
    raise ParticularError


def _reckoned(graph: fx.Graph, found: Mapping[fx.Node, Any]) -> None:
    """Put what was found into the graph, products with the number of members at its front."""
    first, *_ = graph.nodes
    given = [node for node in graph.nodes if node.op == "placeholder"]
    products: dict[int, fx.Node] = {}

    def reckoned(value: Any) -> Any:
        if not isinstance(value, _Members):
            return value
        if value.times not in products:
            products[value.times] = graph.call_function(torch.ops.aten.mul.int, (products[1], value.times))
        return products[value.times]

    with graph.inserting_after(given[-1]):
        products[1] = graph.call_function(torch.ops.aten.size.int, (first, 0))
    with graph.inserting_after(products[1]):
        for node, values in found.items():
            values = tree_map(reckoned, values)
            node.kwargs = dict(zip(sorted(node.kwargs), values[len(node.args) :], strict=True))
            node.args = tuple(values[: len(node.args)])
