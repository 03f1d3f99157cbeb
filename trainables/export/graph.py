"""A module as an ONNX graph."""

from __future__ import annotations

import copy
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from trainables.export.needed import ExportError, first_line, needed, quiet

if TYPE_CHECKING:
    from torch import Tensor

TRACED = 3
"""Samples that a module is traced with: a tracer takes 0 and 1 for constants."""

BATCH = "batch"
"""What the free dimension is called in the graph."""

FIXED = "it takes batches of one size alone; write x.shape[0] for the size of a batch, and no branch on it"

LARGEST = 2**31 - 1
"""Bytes of a graph with its weights: what protobuf, the format's own, can hold."""


def exported(module: nn.Module, inputs: Sequence[Tensor], *, folded: bool = True) -> bytes:
    """The module in evaluation mode and single precision as ONNX, its first dimension free.

    ``inputs`` are samples [B, ...] of any B. ``folded`` computes once what depends on weights alone; without it every parameter is
    in the graph under its own name. The module is left as it is. Nothing of this machine's paths is in the graph.

    Raises ExportError, in words, for what cannot be expressed, or only for one fixed B.
    """
    needed()
    plain = single(module)
    name = type(module).__name__
    taken = tuple(_traced(one) for one in inputs)
    weights = sum(one.numel() * one.element_size() for one in (*plain.parameters(), *plain.buffers()))
    if weights > LARGEST:
        raise ExportError(f"{name} has {weights:,} bytes of weights; a file of ONNX holds {LARGEST:,}")
    with quiet(), torch.no_grad():
        program = _captured(plain, taken, name)
        try:
            found = torch.onnx.export(
                program,
                verbose=False,
                dynamo=True,
                optimize=False,
                input_names=[f"input_{place}" for place in range(len(taken))] if len(taken) > 1 else ["input"],
                output_names=["output"],
            )
            model: Any = found.model_proto if found is not None else None
        except Exception as error:  # of several kinds, some of them private
            raise ExportError(f"{name} cannot be exported: {_reason(error)}") from error
    plainly = _finished(model, name)
    return fold(plainly) if folded else plainly


def fold(model: bytes) -> bytes:
    """The graph with what depends on weights alone computed once, and without what says nothing to who runs it."""
    import onnx
    import onnx_ir
    from onnxscript import optimizer

    with quiet():
        graph = onnx_ir.serde.deserialize_model(onnx.load_from_string(model))
        optimizer.optimize_ir(graph)
        found: Any = onnx_ir.serde.serialize_model(graph)
    # Shapes between operators are worked out again by whoever reads it; those of the trace stop the quantiser.
    del found.graph.value_info[:]
    return _bared(found)


def single(module: nn.Module) -> nn.Module:
    """A copy on the CPU, in single precision and evaluation mode."""
    return copy.deepcopy(module).cpu().float().eval()


def _traced(one: Tensor) -> Tensor:
    there = one[torch.arange(TRACED, device=one.device) % len(one)].detach().cpu()
    return there.float() if there.is_floating_point() else there


def _captured(plain: nn.Module, taken: tuple[Tensor, ...], name: str) -> torch.export.ExportedProgram:
    """The module's operations: traced, and where that fixes the batch (``len(x)``) read off its code."""
    free = torch.export.Dim(BATCH)
    shapes = tuple({0: free} for _ in taken)
    failed: list[Exception] = []
    for strict in (False, True):
        try:
            return torch.export.export(plain, taken, dynamic_shapes=_shapes(plain, shapes), strict=strict)
        except Exception as error:  # whatever the user's module or the tracer raises
            failed.append(error)
    raise ExportError(f"{name} cannot be exported: {_reason(failed[0])}") from failed[0]


def _shapes(plain: nn.Module, shapes: tuple[dict[int, Any], ...]) -> tuple[Any, ...]:
    """As the tracer wants them: one entry for a ``*inputs`` that takes all."""
    import inspect

    parameters = inspect.signature(plain.forward).parameters.values()
    return (shapes,) if any(one.kind is one.VAR_POSITIONAL for one in parameters) else shapes


def _reason(error: BaseException) -> str:
    """Why, from the innermost exception, which names the operator."""
    inner = error
    while inner.__cause__ is not None:
        inner = inner.__cause__
    said = str(inner)
    if "Constraints violated" in said:
        return FIXED
    if "data-dependent" in said:
        return "what it computes depends on the values of its inputs; write torch.where instead of an if"
    missing = re.search(r"No ONNX function found for <OpOverload\(op='([^']+)'", said)
    if missing is None:
        return first_line(inner)
    kind = " of complex numbers" if "complex" in said else ""
    return f"ONNX has no operator for {missing[1]}{kind}; write that part of the model by others, or leave it in torch"


def _finished(model: Any, name: str) -> bytes:
    """The graph without what it says of the code it was made from, its free dimension checked."""
    if len(model.graph.output) != 1:
        raise ExportError(
            f"{name} puts out {len(model.graph.output)} tensors; the loop takes one: return the one that is learned"
        )
    for value in (*model.graph.input, *model.graph.output):
        dimensions = value.type.tensor_type.shape.dim
        if not dimensions or not dimensions[0].dim_param:
            raise ExportError(f"{name} cannot be exported: {FIXED}")
        dimensions[0].dim_param = BATCH
    return _bared(model)


def _bared(model: Any) -> bytes:
    """The graph without what it says of the code that it was made from: files, lines, names of modules."""
    for node in (*model.graph.node, *(node for function in model.functions for node in function.node)):
        del node.metadata_props[:]
        node.doc_string = ""
    graph = model.graph
    for value in (graph, *graph.input, *graph.output, *graph.initializer, *graph.value_info):
        del value.metadata_props[:]
    data: bytes = model.SerializeToString()
    return data
