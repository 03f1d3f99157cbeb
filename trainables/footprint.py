"""What a training step needs of a device's memory, from shapes alone: nothing is computed, and no memory is taken."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from trainables.errors import ConflictError
from trainables.recipe import Adaptable

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from trainables.recipe import Recipe
    from trainables.task import Splits, Task, Tensors

FEW, MANY = (2, 4), (1024, 2048)
"""The two batches between which the line is drawn, where a step has to be run and where its shapes say enough.

With many samples the peak lies where activations are most, as it does where memory ends; with few it may lie among the gradients.
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Footprint:
    """Bytes of a step: ``model`` + ``optimizer`` + ``average`` + ``data`` + ``step``, and ``sample`` for each sample at once.

    ``model`` are parameters and buffers, ``data`` the sets that lie on the device. ``step`` and ``sample`` are a line through the
    peaks of two batches: activations that are kept, gradients, and the batch itself. ``computed`` says that shapes were not enough
    and a few samples were run. What kernels take within one operation, and what allocators leave unused, is not in it.
    """

    model: int
    optimizer: int
    average: int
    data: int
    step: float
    sample: float
    computed: bool

    @property
    def held(self) -> float:
        """Bytes that are needed whatever the batch."""
        return self.model + self.optimizer + self.average + self.data + max(0.0, self.step)

    def bytes(self, batch: int) -> float:
        """Bytes of a step with so many samples at once."""
        return self.held + self.sample * batch

    def largest(self, limit: float) -> int:
        """The most samples that fit into so many bytes; 0 where none does. Raises ValueError where samples take none."""
        if self.sample <= 0:
            raise ValueError("a sample takes no memory by its shapes, so no number of them is the most")
        return max(0, math.floor((limit - self.held) / self.sample))


def footprint(
    task: Task, recipe: Recipe, *, splits: Splits[Any] | None = None, device: str | torch.device = "cpu"
) -> Footprint:
    """Estimate what a step takes on a device, which need not be there unless a model cannot be followed by its shapes.

    The model is built and run on tensors without memory (torch's fake tensors). One that looks at its values is built for real, and
    a few samples of it are run. Raises ConflictError for a recipe that cannot be run.
    """
    import torch
    from torch._subclasses.fake_tensor import FakeTensorMode

    from trainables.data.source import head, resident
    from trainables.stepping import untouched

    conflicts = list(recipe.conflicts())
    if conflicts:
        raise ConflictError("footprint", conflicts)
    place = torch.device(device)
    with untouched():
        splits = task.load(recipe.seeds.split) if splits is None else splits
        # Both ask for values, which are real, and would have no answer among tensors without any.
        recipe = _adapted(task, recipe, splits)
        sample = head(splits.train, 1)
        try:
            line, computed = _line(recipe, sample, place, MANY, FakeTensorMode()), False
        except Exception:  # whatever a model does that has no answer without values
            line, computed = _line(recipe, sample, place, FEW, nullcontext()), True
    model = _bytes([*line.module.parameters(), *line.module.buffers()])
    sets = [tensor for one in splits.named().values() if resident(one) for tensor in one]
    return Footprint(
        model=model,
        optimizer=_optimizer_bytes(recipe, [p for p in line.module.parameters() if p.requires_grad]),
        average=model if recipe.average is not None else 0,
        data=_bytes(sets) if place.type != "cpu" else 0,  # on a CPU they lie in the memory already
        step=line.step,
        sample=line.sample,
        computed=computed,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Line:
    """Bytes of a step beside the module: at no samples, and for each."""

    module: nn.Module
    step: float
    sample: float


def _adapted(task: Task, recipe: Recipe, splits: Splits[Any]) -> Recipe:
    """The recipe with its loss named, and its model with the sizes that the data asks for."""
    loss = recipe.loss or task.loss
    model = recipe.model.adapted(splits.shape(loss)) if isinstance(recipe.model, Adaptable) else recipe.model
    return replace(recipe, loss=loss, model=model)


def _line(
    recipe: Recipe,
    sample: Tensors,
    device: torch.device,
    batches: tuple[int, int],
    mode: AbstractContextManager[object],
) -> _Line:
    """The line through the peaks of two batches."""
    with mode:
        module = _module(recipe, device)
        few, many = (_peak(module, recipe, sample, device, size) for size in batches)
    slope = (many - few) / (batches[1] - batches[0])
    return _Line(module=module, step=few - slope * batches[0], sample=slope)


def _module(recipe: Recipe, device: torch.device) -> nn.Module:
    """The module as a run has it before its first step."""
    from trainables.modules import freeze, recompute

    module = recipe.model.build()
    _place(module, device, recipe.precision.dtype())
    frozen = freeze(module, recipe.freeze)
    recompute(module, recipe.recompute)
    module.train()
    for part in frozen:
        part.eval()
    return module


def _place(module: nn.Module, device: torch.device, dtype: torch.dtype) -> None:
    """What ``module.to`` does, which torch cannot do for tensors without memory; parameters that are shared stay so."""
    from torch import nn

    from trainables.data.source import moved

    made: dict[int, tuple[Tensor, Tensor]] = {}  # with the old one, whose place in memory would be taken by another's
    for part in module.modules():
        for name, old in [*part.named_parameters(recurse=False), *part.named_buffers(recurse=False)]:
            if id(old) not in made:
                (new,) = moved((old.detach(),), device, dtype)
                made[id(old)] = old, nn.Parameter(new, old.requires_grad) if isinstance(old, nn.Parameter) else new
            setattr(part, name, made[id(old)][1])


def _peak(module: nn.Module, recipe: Recipe, sample: Tensors, device: torch.device, size: int) -> int:
    """The most bytes that live in a step with so many samples, beside the module: the batch, activations, gradients."""
    from trainables.live_bytes import LiveBytes
    from trainables.losses.loss import summed

    assert recipe.loss is not None
    live = LiveBytes([*module.parameters(), *module.buffers()])
    with live:
        *inputs, target = (_like(tensor, size, device, recipe) for tensor in sample)
        with recipe.precision.autocast(device):
            value = summed(recipe.loss, module(*inputs), target)
        value.backward()  # type: ignore[no-untyped-call]
        module.zero_grad()
    return live.peak


def _like(sample: Tensor, size: int, device: torch.device, recipe: Recipe) -> Tensor:
    """So many samples in the shape and type of one: zeros, which are a class and a number alike."""
    import torch

    dtype = recipe.precision.dtype() if sample.is_floating_point() else sample.dtype
    return torch.zeros((size, *sample.shape[1:]), dtype=dtype, device=device)


def _optimizer_bytes(recipe: Recipe, parameters: Sequence[nn.Parameter]) -> int:
    """What the optimizer remembers, told from a step over a small matrix and a small vector: so many values for each of theirs."""
    import torch
    from torch import nn

    small = [nn.Parameter(torch.zeros(shape, dtype=recipe.precision.dtype())) for shape in ((4, 8), (8,))]
    optimizer = recipe.optimizer.build(small)
    for parameter in small:
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    total = 0.0
    for parameter in parameters:
        alike = small[0] if parameter.ndim >= 2 else small[1]
        for value in optimizer.state.get(alike, {}).values():
            if isinstance(value, torch.Tensor):
                numbers = 1.0 if value.numel() == 1 else value.numel() / alike.numel() * parameter.numel()
                total += numbers * value.element_size()
    return round(total)


def _bytes(tensors: Iterable[Tensor]) -> int:
    """Bytes of the tensors' storages, each counted once."""
    found = {tensor.untyped_storage()._cdata: tensor.untyped_storage().nbytes() for tensor in tensors}
    return sum(found.values())
