"""Recorded operations on a GPU in a few launches: CUDA graphs."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, fx
from torch.utils._pytree import tree_leaves

from trainables.fused.recorder import copied, once, written

_torch: Any = torch._C

KEPT = 4
"""Graphs that are kept for each recording: each holds copies of what a step of its pack is given."""

WARM, CALLS, TURNS = 3, 3, 2
"""Calls before a capture, in which torch's libraries take the memory that they work in; calls of a turn that is timed; turns."""

ROUNDING, MOST = 256, 0.05
"""How far a graph's values may be off those of the operations, as a share of the largest of a member's: so many units of rounding,
which sums in another order come to, and no more than the second."""


class Graphed:
    """Plays a recording on a GPU: where that gives the same and takes less time as a CUDA graph, else operation by operation.

    A small network's step is mostly the launches of its operations, one by one from Python; a graph is launched once. There is one
    for each number of members that has come ``captured_from`` times. What it gives lies in memory that all graphs have in common,
    and holds until the next call of any; what the operations write into their arguments is in them afterwards, as ever.
    """

    def __init__(self, module: fx.GraphModule, captured_from: int = 1) -> None:
        module.recompile()
        self._play: Callable[..., Any] = module.forward
        self._written = [written(node) for node in module.graph.nodes if node.op == "placeholder"]
        self._devices = {node.meta["device"] for node in module.graph.nodes if "device" in node.meta}
        self._captured_from = captured_from
        self._met: dict[int, int] = {}
        self._graphs: dict[int, _Graph] = {}

    def __call__(self, *arguments: Tensor) -> Any:
        """What the recorded function gives for these arguments, [K, ...] the first; to be called without autograd."""
        graph = self.graph_for(arguments)
        return graph(*arguments) if graph is not None else self._play(*arguments)

    def graph_for(self, arguments: Sequence[Tensor]) -> _Graph | None:
        """The graph for packs of this size, which may be made now; None where the operations are played."""
        members = len(arguments[0])
        graph = self._graphs.pop(members, None)
        if graph is None:
            self._met[members] = self._met.get(members, 0) + 1
            # Once: what was refused is refused again.
            graph = self._captured(arguments) if self._met[members] == self._captured_from else None
            if graph is None:
                return None
        self._graphs[members] = graph  # the last that was used
        if len(self._graphs) > KEPT:
            forgotten = next(iter(self._graphs))
            del self._graphs[forgotten], self._met[forgotten]
        return graph

    def _captured(self, arguments: Sequence[Tensor]) -> _Graph | None:
        """A graph for arguments like these, where it is worth having; neither they nor torch's generators are changed."""
        # What passes between the processor and the GPU cannot be part of a graph, and a capture is the current GPU's.
        if _failed or self._devices != {torch.device("cuda", torch.cuda.current_device())}:
            return None
        try:
            graph = _Graph(self._play, arguments, self._written)
            given = [copied(tensor) for tensor in arguments]
            if _same(graph, self._play, arguments) and sooner(lambda: graph(*given), lambda: self._play(*given)):
                return graph
        except Exception:
            logging.getLogger(__name__).debug("a step is not captured", exc_info=True)
        return None


class _Graph:
    """A call of a function as the GPU was given it, with memory of its own for what it is given."""

    def __init__(self, play: Callable[..., Any], arguments: Sequence[Tensor], writes: Sequence[bool]) -> None:
        given = [copied(tensor) for tensor in arguments]
        self._strides = [tensor.stride() if 0 in tensor.stride() else None for tensor in given]
        self._given, self._writes = self._once(given), [number for number, its in enumerate(writes) if its]
        types = {tensor.dtype for tensor in given}
        # Of one type they are copied in one launch.
        self._alike = [[number for number, its in enumerate(given) if its.dtype == one] for one in types]
        self._graph = torch.cuda.CUDAGraph()
        stream, pool = _common(torch.cuda.current_device())
        stream.wait_stream(torch.cuda.current_stream())
        with _drawing_nothing(), torch.cuda.stream(stream):
            for _ in range(WARM):
                play(*given)
            with _capturing(self._graph, stream, pool):
                self.found = play(*given)
        torch.cuda.current_stream().wait_stream(stream)

    def __call__(self, *arguments: Tensor) -> Any:
        values = self._once(arguments)
        for numbers in self._alike:
            torch._foreach_copy_([self._given[number] for number in numbers], [values[number] for number in numbers])
        self._graph.replay()
        for number in self._writes:
            arguments[number].copy_(self._given[number])
        return self.found

    def _once(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Without repetitions of what lies in memory once."""
        return [
            tensor if strides is None else once(tensor, strides)
            for tensor, strides in zip(tensors, self._strides, strict=True)
        ]


@lru_cache
def _common(index: int) -> tuple[torch.cuda.Stream, Any]:
    """The stream on which all graphs of a GPU are captured, and the pool of memory that they so have in common."""
    stream: torch.cuda.Stream = torch.cuda.Stream(index)  # type: ignore[no-untyped-call]
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
        held = torch.zeros(1, device="cuda")
    _ground.append((graph, held))
    return stream, graph.pool()


_ground: list[Any] = []
"""What keeps a pool when no other graph does: it cannot be had again."""

_failed: list[str] = []
"""What ended a capture. The GPU may have broken it off, which torch does not tidy up altogether: there are no others then."""


@contextmanager
def _capturing(graph: torch.cuda.CUDAGraph, stream: torch.cuda.Stream, pool: Any) -> Iterator[None]:
    """What is done within becomes the graph."""
    try:
        # Other threads, which may be writing checkpoints, use the GPU meanwhile.
        with torch.cuda.graph(graph, pool=pool, stream=stream, capture_error_mode="thread_local"):
            yield
    except BaseException as error:
        _failed.append(repr(error))
        with suppress(Exception):  # it has ended, unless it was the GPU that broke it off
            _torch._cuda_endAllocateToPool(torch.cuda.current_device(), pool)
        raise


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


def _same(graph: _Graph, play: Callable[..., Any], arguments: Sequence[Tensor]) -> bool:
    """Whether both give the same and write the same, but for rounding, when they draw the same."""
    # Of other values than it was captured with: what it holds since then is not to be taken for what it gives.
    mine, its = ([_halved(tensor) for tensor in arguments] for _ in range(2))
    for tensor in tree_leaves(graph.found):
        if tensor.is_floating_point():
            tensor.fill_(float("nan"))
    with _drawing_nothing():
        found = graph(*mine)
    with _drawing_nothing():
        expected = play(*its)
    pairs = zip(tree_leaves((found, mine)), tree_leaves((expected, its)), strict=True)
    return all(_near(*pair) for pair in pairs)


def _halved(tensor: Tensor) -> Tensor:
    """Other values, which lie in memory in the same way; what are numbers of something stay what they are."""
    found = copied(tensor)
    if found.is_floating_point():
        once(found, found.stride()).mul_(0.5)
    return found


def _near(found: Tensor, expected: Tensor) -> bool:
    """Whether each member's values differ by little of its largest; by nothing where that is asked for."""
    same = (found == expected) | (found.isnan() & expected.isnan())
    if expected.is_floating_point() and expected.numel() and not torch.are_deterministic_algorithms_enabled():
        dims = tuple(range(1, expected.ndim))
        most = expected.nan_to_num(0.0, 0.0, 0.0).abs().amax(dims, keepdim=True)
        little = min(ROUNDING * torch.finfo(expected.dtype).eps, MOST)
        same |= (found - expected).abs() <= little * most
    return bool(same.all())


def _drawing_nothing() -> Any:
    """What is drawn from torch's generators within is drawn again after it."""
    return torch.random.fork_rng(devices=[torch.cuda.current_device()])
