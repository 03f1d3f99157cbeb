"""A graph that is made once and given the weights of many modules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, final

import torch

from trainables.export.graph import TRACED, exported, fold, single
from trainables.export.parity import Tolerance, parity
from trainables.export.session import Session
from trainables.seeds import generator

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from torch import Tensor, nn

    Place = tuple[str, bool]
    """The name of a parameter or buffer in the module, and whether the graph holds it transposed."""


@final
class Template:
    """The graph of a module, whose weights are exchanged for those of another one that was built alike.

    Tracing takes seconds, exchanging weights milliseconds. ``inputs`` are samples [B, ...]. Where the graph holds something
    computed from the weights, ``exchanges`` is False and every graph is traced anew: it is tried with
    other weights first. Raises ExportError for what cannot be exported.
    """

    def __init__(self, module: nn.Module, inputs: Sequence[Tensor]) -> None:
        import onnx

        self._inputs = [one[torch.arange(TRACED, device=one.device) % len(one)] for one in inputs]
        self.model = exported(module, self._inputs, folded=False)
        self._graph: Any = onnx.load_from_string(self.model)
        _without_transposes(self._graph)
        self.places = _places(self._graph, single(module))
        self.exchanges = self._tried(module)

    def filled(self, module: nn.Module, *, folded: bool = True) -> bytes:
        """The graph with this module's weights; ``folded``, with what depends on them alone computed once."""
        if not self.exchanges:
            return exported(module, self._inputs, folded=folded)
        return fold(self._filled(module)) if folded else self._filled(module)

    def _filled(self, module: nn.Module) -> bytes:
        fill(self._graph, self.places, weights(module))
        data: bytes = self._graph.SerializeToString()
        return data

    def _tried(self, module: nn.Module) -> bool:
        """Whether the graph with other weights answers as the module with those."""
        other = stirred(module)
        with torch.no_grad():
            inputs = [one.detach().cpu().float() if one.is_floating_point() else one.cpu() for one in self._inputs]
            expected = other(*inputs)
        return parity(expected, Session(self._filled(other))(*inputs), Tolerance()).passed


def stirred(module: nn.Module) -> nn.Module:
    """A copy in which every weight and statistic is another one; what is above 0, as a variance, stays so."""
    other, drawn = single(module), generator("stirred")
    with torch.no_grad():
        for tensor in (*other.parameters(), *other.buffers()):
            if tensor.is_floating_point():
                moved = torch.rand(tensor.shape, generator=drawn)
                tensor.mul_(1 + 0.2 * moved).add_(0.02 * moved)
    return other


def same(model: bytes, other: bytes) -> bool:
    """Whether two graphs hold the same values under the same names."""
    import numpy as np
    import onnx
    from onnx import numpy_helper

    first, second = (
        {one.name: numpy_helper.to_array(one) for one in onnx.load_from_string(each).graph.initializer}
        for each in (model, other)
    )
    return first.keys() == second.keys() and all(np.array_equal(first[name], second[name]) for name in first)


def weights(module: nn.Module) -> dict[str, npt.NDArray[np.generic]]:
    """Parameters and buffers by name, on the CPU, floating ones in single precision."""
    found = {}
    for name, tensor in (
        *module.named_parameters(remove_duplicate=False),
        *module.named_buffers(remove_duplicate=False),
    ):
        plain = tensor.detach().cpu()
        found[name] = (plain.float() if plain.is_floating_point() else plain).numpy()
    return found


def fill(graph: Any, places: Mapping[str, Place], values: Mapping[str, npt.NDArray[np.generic]]) -> None:
    """Write values into those initializers of a model that have a place."""
    for one in graph.graph.initializer:
        if one.name in places:
            name, transposed = places[one.name]
            store(one, values[name].T if transposed else values[name])


def store(initializer: Any, values: npt.NDArray[np.generic]) -> None:
    """Give an initializer other values of the same type and shape."""
    import numpy as np
    from onnx import numpy_helper

    initializer.CopyFrom(numpy_helper.from_array(np.asarray(values, order="C"), initializer.name))


def _places(graph: Any, module: nn.Module) -> dict[str, Place]:
    """Where the graph holds which weights: under their names, or, known by their values, under another one."""
    import numpy as np
    from onnx import numpy_helper

    known, found = weights(module), dict[str, "Place"]()
    for one in graph.graph.initializer:
        held = numpy_helper.to_array(one)
        if one.name in known and np.array_equal(held, known[one.name]):
            found[one.name] = (one.name, False)
        elif one.name in known and known[one.name].ndim == 2 and np.array_equal(held, known[one.name].T):
            found[one.name] = (one.name, True)
        elif held.ndim == 2 and held.size > 1:
            same = [name for name, value in known.items() if np.array_equal(held, value.T)]
            if len(same) == 1:
                found[one.name] = (same[0], True)
    return found


def _without_transposes(model: Any) -> None:
    """Transpose two-dimensional weights in the graph once, instead of in every call: what multiplies by them can be quantised."""
    from onnx import numpy_helper

    graph = model.graph
    held = {one.name: one for one in graph.initializer}
    for node in [*graph.node]:
        if node.op_type != "Transpose" or node.input[0] not in held or len(held[node.input[0]].dims) != 2:
            continue
        order = [list(one.ints) for one in node.attribute if one.name == "perm"]
        if order not in ([], [[1, 0]]):
            continue
        values = numpy_helper.to_array(held[node.input[0]]).T
        graph.initializer.append(numpy_helper.from_array(values.copy(), node.output[0]))
        graph.node.remove(node)
    used = {name for node in graph.node for name in node.input} | {one.name for one in graph.output}
    subgraphs = any(attribute.HasField("g") for node in graph.node for attribute in node.attribute)
    for one in [*graph.initializer]:
        if one.name not in used and not subgraphs:
            graph.initializer.remove(one)
