"""Recorded operations on a GPU in one launch: CUDA graphs."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import Any
from weakref import WeakSet

import torch
from torch import Tensor, fx
from torch.utils._pytree import tree_leaves

from trainables.fused.recorder import copied, once, written

KEPT = 4
"""Graphs for packs of one size each that are kept: each holds copies of what a step of its pack is given."""

WARM, CALLS, TURNS = 3, 5, 3
"""Calls before a capture, in which torch's libraries take the memory that they work in; calls of a turn that is timed; turns."""


class Graphed:
    """Plays a recording on a GPU: where that gives the same and takes less time as a CUDA graph, else operation by operation.

    A small network's step is mostly the launches of its operations, one by one from Python; a graph is launched once. There is one
    for each number of members, made when the first such pack comes. What it gives lies in its own memory and holds until the
    next call; what the operations write into their arguments is in them afterwards, as ever.
    """

    def __init__(self, module: fx.GraphModule) -> None:
        module.recompile()
        self._play: Callable[..., Any] = module.forward
        nodes = module.graph.nodes
        self._written = [written(node) for node in nodes if node.op == "placeholder"]
        # What passes between the processor and the GPU cannot be part of a graph.
        self._there = all(node.meta.get("device", _GPU).type == _GPU.type for node in nodes)
        self._graphs: dict[int, _Graph | None] = {}

    def __call__(self, *arguments: Tensor) -> Any:
        """What the recorded function gives for these arguments, [K, ...] the first; to be called without autograd."""
        members = len(arguments[0])
        if members not in self._graphs:
            self._graphs[members] = self._captured(arguments) if self._there else None
            if len(self._graphs) > KEPT:
                del self._graphs[next(iter(self._graphs))]
        graph = self._graphs[members]
        return graph(*arguments) if graph is not None else self._play(*arguments)

    def _captured(self, arguments: Sequence[Tensor]) -> _Graph | None:
        """A graph for arguments like these, where it is worth having; neither they nor torch's generators are changed."""
        try:
            graph = _Graph(self._play, arguments, self._written)
            given = [copied(tensor) for tensor in arguments]
            if _same(graph, self._play, arguments) and sooner(lambda: graph(*given), lambda: self._play(*given)):
                return graph
        except Exception:
            logging.getLogger(__name__).debug("a step is not captured", exc_info=True)
        return None


class _Graph:
    """A call of a function as the GPU was given it, with memory of its own for what it is given and what it gives."""

    def __init__(self, play: Callable[..., Any], arguments: Sequence[Tensor], writes: Sequence[bool]) -> None:
        given = [copied(tensor) for tensor in arguments]
        self._strides = [tensor.stride() if 0 in tensor.stride() else None for tensor in given]
        self._given, self._writes = self._once(given), [number for number, its in enumerate(writes) if its]
        self._graph = torch.cuda.CUDAGraph()
        # From one that lives: the pool of those that are gone is gone with them.
        pool = next((other.pool() for other in _living), None)
        side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        side.wait_stream(torch.cuda.current_stream())
        with _drawing_nothing(), torch.cuda.stream(side):
            for _ in range(WARM):
                play(*given)
            # Other threads, which may be writing checkpoints, use the GPU meanwhile.
            with torch.cuda.graph(self._graph, pool=pool, stream=side, capture_error_mode="thread_local"):
                self._found = play(*given)
        torch.cuda.current_stream().wait_stream(side)
        _living.add(self._graph)

    def __call__(self, *arguments: Tensor) -> Any:
        torch._foreach_copy_(self._given, self._once(arguments))
        self._graph.replay()
        for number in self._writes:
            arguments[number].copy_(self._given[number])
        return self._found

    def _once(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Without repetitions of what lies in memory once."""
        return [
            tensor if strides is None else once(tensor, strides)
            for tensor, strides in zip(tensors, self._strides, strict=True)
        ]


def sooner(graph: Callable[[], Any], play: Callable[[], Any]) -> bool:
    """Whether the first takes less time than the second, at the best of a few turns each."""
    turns = [(_took(graph), _took(play)) for _ in range(TURNS)]
    return min(mine for mine, _ in turns) < min(its for _, its in turns)


def _took(call: Callable[[], Any]) -> float:
    with _drawing_nothing():
        torch.cuda.synchronize()
        begun = time.perf_counter()
        for _ in range(CALLS):
            call()
        torch.cuda.synchronize()
        return time.perf_counter() - begun


def _same(graph: Callable[..., Any], play: Callable[..., Any], arguments: Sequence[Tensor]) -> bool:
    """Whether both give the same and write the same, but for rounding, when they draw the same."""
    mine, its = ([copied(tensor) for tensor in arguments] for _ in range(2))
    with _drawing_nothing():
        found = graph(*mine)
    with _drawing_nothing():
        expected = play(*its)
    pairs = zip(tree_leaves((found, mine)), tree_leaves((expected, its)), strict=True)
    return all(_near(*pair) for pair in pairs)


def _near(found: Tensor, expected: Tensor) -> bool:
    """Whether two tensors differ by little of the largest value."""
    if not expected.is_floating_point():
        return bool(torch.equal(found, expected))
    finite = expected[expected.isfinite()]
    most = float(finite.abs().max()) if len(finite) else 0.0
    little = torch.finfo(expected.dtype).eps ** 0.5 * most
    return bool(torch.allclose(found, expected, rtol=0.0, atol=little, equal_nan=True))


def _drawing_nothing() -> Any:
    """What is drawn from torch's generators within is drawn again after it."""
    return torch.random.fork_rng(devices=[torch.cuda.current_device()])


_GPU = torch.device("cuda")

_living: WeakSet[torch.cuda.CUDAGraph] = WeakSet()
"""Graphs of this process. They have one pool of memory: only what they give is held between calls, and they run one at a time."""
