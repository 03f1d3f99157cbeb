"""INT8: a graph's weights and, where it multiplies, its activations in eight bits."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, final

from trainables.export.needed import ExportError, first_line, needed, quiet
from trainables.export.session import Session

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from torch import Tensor

MULTIPLYING = ("MatMul", "Gemm", "Conv", "LSTM")
"""What is quantised where it multiplies by constants."""

INTEGER = frozenset({"MatMulInteger", "ConvInteger", "DynamicQuantizeLSTM", "DequantizeLinear"})
"""Operators of which a quantised graph has some."""

PREPARED = "onnx.quant.pre_process"
"""What marks a graph that the quantiser need not complain of."""

CALIBRATED = 512
"""Samples that ranges of activations are taken from."""


def dynamic(model: bytes, *, folded: bool = True) -> bytes:
    """Weights as integers, activations as integers by the range that each batch has, when it comes.

    ``folded`` computes first what depends on weights alone, so that more of them are constants. Weights are unsigned: processors
    without instructions for 8-bit products let sums of signed ones overflow. Raises ExportError where nothing can be quantised.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    def quantise(source: Path, target: Path) -> None:
        quantize_dynamic(source, target, op_types_to_quantize=[*MULTIPLYING], weight_type=QuantType.QUInt8)

    return _quantised(model, quantise, folded=folded)


def static(model: bytes, inputs: Sequence[Tensor]) -> bytes:
    """Weights and activations as integers, by the ranges that activations have over ``inputs`` [N, ...]: validation samples.

    Raises ExportError where nothing can be quantised.
    """
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    def quantise(source: Path, target: Path) -> None:
        reader = _Reader(source.read_bytes(), inputs)
        quantize_static(
            source,
            target,
            reader,
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=["MatMul", "Gemm", "Conv"],
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QUInt8,
        )

    return _quantised(model, quantise, folded=True)


def integers(model: bytes) -> int:
    """How many operators of a graph compute with integers."""
    import onnx

    return sum(node.op_type in INTEGER for node in onnx.load_from_string(model).graph.node)


@final
class _Reader:
    """Calibration samples as the quantiser asks for them."""

    def __init__(self, model: bytes, inputs: Sequence[Tensor], size: int = 64) -> None:
        fed = Session(model).fed(tuple(one[:CALIBRATED] for one in inputs))
        count = min(map(len, fed.values()))
        cut = [{name: values[at : at + size] for name, values in fed.items()} for at in range(0, count, size)]
        self._batches = iter(cut)

    def get_next(self) -> Mapping[str, npt.NDArray[np.generic]] | None:
        """The next batch, or None after the last."""
        return next(self._batches, None)


def _quantised(model: bytes, quantise: Callable[[Path, Path], None], *, folded: bool) -> bytes:
    """Prepare, quantise, and see that something was."""
    needed()
    with TemporaryDirectory() as folder, quiet():
        source, target = Path(folder) / "plain.onnx", Path(folder) / "quantised.onnx"
        try:
            source.write_bytes(_prepared(_folded(model, source) if folded else model))
            quantise(source, target)
            data = _cleaned(target.read_bytes())
        except Exception as error:  # of many kinds, asserts among them
            raise ExportError(f"the graph cannot be quantised ({first_line(error)})") from error
    if not integers(data):
        raise ExportError("nothing in the graph multiplies by constants, so there is nothing to quantise")
    return data


def _folded(model: bytes, path: Path) -> bytes:
    """The graph with what depends on weights alone computed, by the runtime itself."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(path)
    options.log_severity_level = 4
    onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return path.read_bytes()


def _prepared(data: bytes) -> bytes:
    """Without the shapes between operators, in which the trace's size of a batch may stand, marked as the quantiser wants it."""
    import onnx

    model: Any = onnx.load_from_string(data)
    del model.graph.value_info[:]
    model.metadata_props.add(key=PREPARED, value="onnxruntime.quant")
    prepared: bytes = model.SerializeToString()
    return prepared


def _cleaned(data: bytes) -> bytes:
    """Without marks, and without shapes that the quantiser has copied."""
    import onnx

    model: Any = onnx.load_from_string(data)
    del model.graph.value_info[:]
    del model.metadata_props[:]
    cleaned: bytes = model.SerializeToString()
    return cleaned
