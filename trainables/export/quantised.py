"""Validation by an INT8 copy of a module: cheaper where products of matrices are what costs, and a little off."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, final

import torch
from torch import Tensor, nn

from trainables.export.integers import dynamic, integers
from trainables.export.needed import ExportError
from trainables.export.session import Session
from trainables.export.template import Template, fill, same, stirred, store, weights

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from trainables.export.template import Place


@final
class Quantised:
    """The INT8 graph of a module, made once; each pass quantises the weights as they are then.

    ``inputs`` are samples [B, ...]. Activations are quantised by the range of each batch. Where the weights of each integer product
    stand in the graph as they stand in the module, they alone are quantised anew (``quick``); elsewhere, as in recurrent layers,
    the whole graph is, which gives the same and takes longer. Raises ExportError for what cannot be exported or quantised.
    """

    def __init__(self, module: nn.Module, inputs: Sequence[Tensor], *, threads: int = 1) -> None:
        import onnx

        self._threads = threads
        self._template = Template(module, inputs)
        self._graph: Any = None
        self._floats: dict[str, Place] = {}
        self._integers: dict[str, Place] = {}
        whole = dynamic(self._template.filled(module))
        plain = self._plain(module) if self._template.exchanges else None
        if plain is not None and integers(plain) == integers(whole):
            self._graph = onnx.load_from_string(plain)
            self._floats, self._integers = _places(self._graph, self._template.places, weights(module))
        self.quick = self._graph is not None and self._tried(module)

    def model(self, module: nn.Module) -> bytes:
        """The INT8 graph with the weights of ``module``, which was built as the first one."""
        return self._filled(module) if self.quick else dynamic(self._template.filled(module))

    def copied(self, module: nn.Module) -> nn.Module:
        """The INT8 copy of a module as it is now: called as the module is, it answers on the CPU.

        Weights that are not finite have no copy in eight bits: then it is the module itself.
        """
        if not all(bool(one.isfinite().all()) for one in module.parameters()):
            return module
        return _Answering(Session(self.model(module), threads=self._threads), next(module.parameters()).device)

    def _tried(self, module: nn.Module) -> bool:
        """Whether other weights, put in, give what quantising the graph with them gives."""
        other = stirred(module)
        anew = self._plain(other)
        return anew is not None and same(self._filled(other), anew)

    def _plain(self, module: nn.Module) -> bytes | None:
        """The INT8 graph in which weights have the names that the module gives them; None where it takes computing first."""
        try:
            return dynamic(self._template.filled(module, folded=False), folded=False)
        except ExportError:
            return None

    def _filled(self, module: nn.Module) -> bytes:
        known = weights(module)
        fill(self._graph, self._floats, known)
        held = {one.name: one for one in self._graph.graph.initializer}
        for name, (source, transposed) in self._integers.items():
            values = known[source].T if transposed else known[source]
            for ending, part in _unsigned(values).items():
                store(held[f"{name}{ending}"], part)
        data: bytes = self._graph.SerializeToString()
        return data


@final
class _Answering(nn.Module):
    """A session where a module is asked for; its outputs come back to the device that targets lie on."""

    def __init__(self, session: Session, device: torch.device) -> None:
        super().__init__()
        self.session = session
        self.place = nn.Parameter(torch.zeros(0, device=device))

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.session(*inputs).to(self.place.device)


def _unsigned(values: npt.NDArray[np.generic]) -> dict[str, npt.NDArray[np.generic]]:
    """Weights in eight bits with scale and zero point, by the quantiser's own rule; keys end the names that the graph has."""
    import numpy as np
    from onnx import TensorProto
    from onnxruntime.quantization.quant_utils import quantize_data

    zero, scale, found = quantize_data(values.flatten(), TensorProto.UINT8, False)
    return {
        "_quantized": np.asarray(found, dtype=np.uint8).reshape(values.shape),
        "_scale": np.asarray(scale, dtype=np.float32).reshape(()),
        "_zero_point": np.asarray(zero, dtype=np.uint8).reshape(()),
    }


def _places(
    graph: Any, places: Mapping[str, Place], known: Mapping[str, npt.NDArray[np.generic]]
) -> tuple[dict[str, Place], dict[str, Place]]:
    """Where the INT8 graph holds weights as they are, and where in eight bits; the quantiser may have transposed them."""
    import numpy as np
    from onnx import numpy_helper

    held = {one.name: numpy_helper.to_array(one) for one in graph.graph.initializer}
    floats, found = dict[str, "Place"](), dict[str, "Place"]()
    for name, (source, transposed) in places.items():
        for turned in (transposed, not transposed):
            values = known[source].T if turned else known[source]
            if name in held and np.array_equal(held[name], values):
                floats.setdefault(name, (source, turned))
            eight = held.get(f"{name}_quantized")
            if (
                eight is not None
                and eight.shape == values.shape
                and np.array_equal(eight, _unsigned(values)["_quantized"])
            ):
                found.setdefault(name, (source, turned))
    return floats, found
