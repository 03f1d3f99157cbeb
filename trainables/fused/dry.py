"""A dry step: what a module computes for two members at once beside what it computes for each alone."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from textwrap import shorten
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from trainables import dropout
from trainables.data.source import head
from trainables.describe import join
from trainables.fit import arithmetic
from trainables.fused.layers import Padding
from trainables.fused.marks import marks
from trainables.fused.program import Program
from trainables.fused.rows import Rows
from trainables.fused.short_runs import otherwise
from trainables.fused.varied import common, settings
from trainables.losses import summed
from trainables.micro_batch import out_of_memory
from trainables.precision import BF16
from trainables.seeds import seeded

if TYPE_CHECKING:
    from trainables.losses import Loss
    from trainables.run import Run
    from trainables.task import Tensors

MEMBERS = 2

DRAWN = "it draws what torch's generators do not, and members would all have the same"


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """Losses, gradients and buffers of some members after one step, [K, ...] each, and the outputs' losses in evaluation.

    ``looked`` is None where evaluation is not for several at once: it is then taken member by member. ``written`` are buffers that
    it changes.
    """

    losses: Tensor
    gradient: Tensor
    buffers: dict[str, Tensor]
    looked: Tensor | None
    written: Sequence[str] = ()


def refused(run: Run, *, runs: bool = True) -> str | None:
    """Why runs like this cannot be trained at once, or not as alone; None where they can. Without ``runs`` a step alone is tried.

    Raises what says that there is no memory left.
    """
    name = type(run.recipe.model).__name__
    try:
        with arithmetic(run.recipe), seeded(run.device, "dry"):
            found = next(_differences(run), None) or (otherwise(run) if runs else None)
    except Exception as error:
        if out_of_memory(error):
            raise
        said = str(error).strip().splitlines() or [""]
        return f"{name}: vmap cannot take it ({type(error).__name__}: {shorten(said[0], 160, placeholder=' …')})"
    return found and f"{name}: {found}"


def _differences(run: Run) -> Iterator[str]:
    """What is wrong with a step at the rates as they are, and with one that drops nothing, which can be compared."""
    run.training()
    modules, batch = _members(run), _batches(run)
    program = Program(modules[0], common(run.loss), run.recipe.precision, run.device)
    with Padding():
        _together(run, program, modules, batch)
    modules = _members(run)
    for module in modules:
        dropout.apply(module, 0.0)
    others = _other_generators()
    alone = [_alone(run, [copy.deepcopy(module) for module in modules], batch, seed) for seed in (0, 0, 1)]
    if _other_generators() != others:
        yield DRAWN
    if unused := alone[0][1]:
        yield f"{', '.join(unused)} take no part in the loss, which an optimizer leaves alone"
    program = Program(modules[0], common(run.loss), run.recipe.precision, run.device)
    before = marks(program.base)
    together = _together(run, program, modules, batch)
    yield from (
        f"it changes {line.split(':')[0]} as it computes, which is no buffer" for line in _changed(before, program)
    )
    yield from (f"it writes {name} in evaluation, which a pack passes through more often" for name in together.written)
    near = (
        0.05 if isinstance(run.recipe.precision, BF16) else 1e-9 if together.gradient.dtype == torch.float64 else 1e-2
    )
    (first, _), (same, _), (again, _) = alone
    if not (_near(first.losses, same.losses, near) and _near(first.gradient, same.gradient, near)):
        yield DRAWN
    yield from _compared(first, again, together, near)


def _other_generators() -> tuple[object, ...]:
    """Where Python's and numpy's generators are."""
    return random.getstate(), repr(np.random.get_state())


def _members(run: Run) -> list[nn.Module]:
    """Copies of a run's module, each with weights of its own."""
    modules = [copy.deepcopy(run.module) for _ in range(MEMBERS)]
    with torch.no_grad():
        for member, module in enumerate(modules):
            for parameter in module.parameters():
                if parameter.is_floating_point():
                    parameter.mul_(1 - 0.1 * member)
    return modules


def _batches(run: Run) -> Tensors:
    """A few samples for each member, others where there are enough, [K, B, ...]."""
    size = min(4, run.plan.batch_size)
    few = head(run.splits.train, MEMBERS * size)
    if len(few[-1]) < MEMBERS * size:
        return tuple(torch.stack([tensor[:size]] * MEMBERS) for tensor in few)
    return tuple(tensor.view(MEMBERS, size, *tensor.shape[1:]) for tensor in few)


def _together(run: Run, program: Program, modules: Sequence[nn.Module], batch: Tensors) -> Step:
    """Both members at once. Raises what vmap raises."""
    names = [name for name, parameter in run.module.named_parameters() if parameter.requires_grad]
    rows = Rows(modules, names)
    rates = {join(name, "p"): torch.tensor([_rate(m, name) for m in modules]) for name in program.dropping}
    held = {**rows.held, **{name: rate.to(run.device, torch.float64) for name, rate in rates.items()}}
    own = settings([run.loss] * len(modules), rows.flat)
    program.follow(run.module)
    losses, gradient = program.gradient(rows, batch, scale=torch.ones_like(rows.flat[:, 0]), held=held, own=own)
    buffers = {name: tensor.clone() for name, tensor in rows.held.items()}
    try:
        looked = program.outputs(rows, batch, held=held, own=own, shared=False, then=_summed)
    except Exception:
        looked = None
    written = [name for name, tensor in rows.held.items() if not torch.equal(tensor, buffers[name])]
    parts = [gradient[:, slot.begin : slot.end] for slot in sorted(rows.slots, key=lambda slot: names.index(slot.name))]
    return Step(losses=losses, gradient=torch.cat(parts, 1), buffers=buffers, looked=looked, written=written)


def _alone(run: Run, modules: Sequence[nn.Module], batch: Tensors, seed: int) -> tuple[Step, list[str]]:
    """Each member by itself, and the names of parameters that take no part in its loss."""
    still = [name for name, part in run.module.named_modules() if not part.training]
    losses, gradients, looked = [], [], []
    unused: list[str] = []
    torch.manual_seed(seed)
    for module, *tensors in zip(modules, *batch, strict=True):
        module.train()
        for name in still:
            module.get_submodule(name).training = False
        trained = {name: p for name, p in module.named_parameters() if p.requires_grad}
        loss = _loss(run, module, tensors)
        found = torch.autograd.grad(loss, list(trained.values()), allow_unused=True)
        unused = [name for name, gradient in zip(trained, found, strict=True) if gradient is None]
        filled = [p.new_zeros(p.shape) if g is None else g for p, g in zip(trained.values(), found, strict=True)]
        losses.append(loss.detach())
        gradients.append(torch.cat([gradient.reshape(-1) for gradient in filled]))
    buffers = [dict(module.named_buffers()) for module in modules]
    stacked = {name: torch.stack([own[name].clone() for own in buffers]) for name in buffers[0]}
    with torch.no_grad():
        for module, *tensors in zip(modules, *batch, strict=True):
            looked.append(_loss(run, module.eval(), tensors))
    step = Step(
        losses=torch.stack(losses), gradient=torch.stack(gradients), buffers=stacked, looked=torch.stack(looked)
    )
    return step, unused


def _compared(first: Step, again: Step, together: Step, near: float) -> Iterator[str]:
    """Where what is computed together is not what each member computes alone, twice; what it draws there cannot be compared."""
    if _near(first.losses, again.losses, 1e-12) and _near(first.gradient, again.gradient, 1e-12):
        if not _near(first.losses, together.losses, near):
            yield "several at once do not have the loss that each has alone"
        if not _near(first.gradient, together.gradient, near):
            yield "several at once do not have the gradient that each has alone"
        for name, buffer in first.buffers.items():
            if not _near(buffer, together.buffers[name], near):
                yield f"several at once do not write the buffer {name} as each does alone"
    drawn = first.looked is None or again.looked is None or not _near(first.looked, again.looked, 1e-12)
    if (
        together.looked is not None
        and first.looked is not None
        and not drawn
        and not _near(first.looked, together.looked, near)
    ):
        yield "several at once do not have the outputs in evaluation that each has alone"


def _near(wanted: Tensor, found: Tensor, share: float) -> bool:
    """Whether two tensors [K, ...] differ by no more than a share of their length; what is not finite is not compared."""
    wanted, found = wanted.double(), found.double()
    if not bool(wanted.isfinite().all()):
        return True
    return bool((wanted - found).norm() <= share * wanted.norm() + 1e-12)


def _changed(before: Sequence[str], program: Program) -> list[str]:
    return [line for line in marks(program.base) if line not in set(before)]


def _loss(run: Run, module: nn.Module, tensors: Sequence[Tensor]) -> Tensor:
    *inputs, target = tensors
    with run.recipe.precision.autocast(run.device):
        return summed(run.loss, module(*inputs), target)


def _summed(loss: Loss, output: Tensor, target: Tensor) -> Tensor:
    return summed(loss, output, target)


def _rate(module: nn.Module, name: str) -> float:
    rate: float = module.get_submodule(name).p  # type: ignore[assignment]
    return rate
