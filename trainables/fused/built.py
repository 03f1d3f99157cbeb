"""Which runs can be trained in one pack, as they were built, and why one cannot be in any."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import pairwise
from textwrap import shorten
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from trainables.data.source import count, resident
from trainables.fused.drops import own_rate
from trainables.fused.marks import marks, marks_of
from trainables.fused.structure import WITHIN, structure
from trainables.fused.varied import common
from trainables.modules import hooked

if TYPE_CHECKING:
    from trainables.run import Run


def unfit_run(run: Run) -> Iterator[str]:
    """What only the data and the module tell."""
    if not all(resident(samples) for samples in run.splits.named().values()):
        yield "data: a set that is not tensors in memory is read run by run"
    if run.broken_off is not None:
        yield "checkpoint: it was taken within an epoch"
    kinds = {(parameter.dtype, parameter.device) for parameter in run.module.parameters()}
    if len(kinds) > 1:
        yield "model: its parameters differ in type or device"
    if run.recipe.validation.within(run.plan.steps_per_epoch) and not run.recipe.validation.within(1000):
        yield WITHIN.format(type(run.recipe.validation).__name__)
    for name, parameter in run.module.named_parameters():
        if parameter._backward_hooks or getattr(parameter, "_post_accumulate_grad_hooks", None):
            yield f"model: the parameter {name} has a hook, which is called with one run's gradient"
    if (both := next(_overlapping(run.module), None)) is not None:
        yield f"model: {both[0]} and {both[1]} lie in the same memory, and each would have its own in a pack"
    for name, part in run.module.named_modules():
        if hooked(part):
            yield f"model: {name or 'it'} has a hook, which is called with one run at a time"
        if isinstance(part, torch.jit.ScriptModule):
            yield f"model: {name or 'it'} is a script, of which nothing can be read"
        if run.recipe.dropout is not None and _stuck(part):
            yield f"dropout: the rate of {name or 'it'}, a {type(part).__name__}, cannot be each member's own"


def shapes(run: Run) -> tuple[Any, ...]:
    """What data and module add to it: samples, and the shapes of one; what the module, loss and metrics compute beside tensors."""
    samples = tuple((tuple(tensor.shape[1:]), str(tensor.dtype)) for tensor in run.splits.train)
    return (count(run.splits.train), run.plan.batch_size, samples, *_made(run))


def differences(runs: Sequence[Run]) -> Iterator[str]:
    """What keeps runs from being one pack, by their numbers."""
    first = runs[0]
    kept, shape = _kept(first), shapes(first)
    for number, run in enumerate(runs):
        if _kept(run) != kept or shapes(run) != shape:
            yield f"member {number} is not built as the first is: {apart(run, first)}"


def apart(run: Run, other: Run) -> str:
    """The first difference between two runs that cannot be in one pack."""
    mine, its = (_all_lines(one) for one in (run, other))
    differing = [line for line in mine if line not in set(its)] or [line for line in its if line not in set(mine)]
    return shorten(differing[0], 200, placeholder=" …") if differing else "parts in another order"


def _all_lines(run: Run) -> list[str]:
    module, loss, metrics = _made(run)
    rest = [f"loss: {line}" for line in loss] + [f"metrics: {line}" for line in metrics]
    return [*_lines(run), *map(str, shapes(run)[:3]), *module, *rest]


def _made(run: Run) -> tuple[Any, ...]:
    """Marks of module, loss and metrics; read once a run, since they stay what they are."""
    if "marks" not in run.made:
        run.made["marks"] = (marks(run.module), marks_of(common(run.loss)), marks_of(run.task.metrics))
    made: tuple[Any, ...] = run.made["marks"]
    return made


def _kept(run: Run) -> str:
    if "structure" not in run.made:
        run.made["structure"] = structure(run.task, run.recipe)
    kept: str = run.made["structure"]
    return kept


def _lines(run: Run) -> list[str]:
    return [f"{name}: {value}" for name, value in json.loads(_kept(run)).items()]


def _stuck(part: nn.Module) -> bool:
    """Whether a ramp changes a rate of this part that all members of a pack have in common."""
    if isinstance(part, nn.modules.dropout._DropoutNd):
        return not own_rate(part)
    return isinstance(part, nn.MultiheadAttention) or (isinstance(part, nn.RNNBase) and part.num_layers > 1)


def _overlapping(module: nn.Module) -> Iterator[tuple[str, str]]:
    """Neighbours in memory of which the second begins before the first ends: tensors of a module that are not one, yet share it."""
    tensors = [
        (name, tensor) for name, tensor in (*module.named_parameters(), *module.named_buffers()) if tensor.numel()
    ]
    spans = sorted((tensor.data_ptr(), tensor.data_ptr() + _extent(tensor), name) for name, tensor in tensors)
    for (_, end, name), (begin, _, other) in pairwise(spans):
        if begin < end:
            yield name, other


def _extent(tensor: Tensor) -> int:
    """The bytes from a tensor's first number to its last."""
    steps = zip(tensor.shape, tensor.stride(), strict=True)
    return tensor.element_size() * (1 + sum((size - 1) * stride for size, stride in steps))
