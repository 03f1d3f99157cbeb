"""Two short runs in a pack beside the same two alone."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import is_dataclass, replace
from textwrap import shorten
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from trainables.fit import epochs
from trainables.fused.built import differences
from trainables.fused.even_draws import EvenDraws
from trainables.fused.pack import Pack
from trainables.fused.program import Program
from trainables.fused.varied import common
from trainables.metrics import WholeSet
from trainables.micro_batch import out_of_memory
from trainables.precision import FP32, FP64
from trainables.preparing import prepare
from trainables.run import Run
from trainables.task import Splits
from trainables.telemetry import Meter

if TYPE_CHECKING:
    from trainables.recipe import Recipe
    from trainables.task import Tensors

MEMBERS, EPOCHS = 2, 2

BATCH = 16
"""Samples of a batch, and of a validation or test set, at most: convolutions in double precision are slow."""

MOVED = {torch.float64: 1e-7, torch.float32: 1e-5}
"""The share of itself by which each weight is moved to see what rounding may come to: more than rounding moves it, as a module in
double precision may have a part in single precision.
"""

NEAR = {torch.float64: 1e-4, torch.float32: 1e-2}
"""What a tensor may be off by, as a share of its own change, and what it comes to, ``TIMES``, where weights are moved."""

TIMES = 10.0

Found = Mapping[str, Tensor]
"""A run's numbers and tensors in double precision, by what they are."""


def otherwise(run: Run) -> str | None:
    """What two runs like this one, with seeds, a learning rate and data of their own, have otherwise in a pack than alone, as a
    sentence.

    They go on for two epochs, each of two small batches of different lengths, in double precision, or in single precision where the
    module does not take that; what they draw from torch's global generators is held. None where nothing differs by more
    than weights moved about as little as rounding moves them make of it, and where they draw what cannot be held. Metrics of whole
    sets are left out: each member's are its own. Raises what a pack of them raises.
    """
    failed = ""
    for precision in (FP64(), FP32()):
        try:
            members = _members(run, replace(run.recipe, precision=precision, split=None, batch_size=_batch(run)))
            begun = [copy.deepcopy(member.state()) for member in members]
            even = EvenDraws()
            alone = _alone(members, begun, even)
        except Exception as error:
            if out_of_memory(error):
                raise
            failed = f"a short run of it fails alone ({type(error).__name__}: {error})"
            continue
        if even.missed:
            return None
        if (built := next(differences(members), None)) is not None:
            return f"no two of its kind can be packed: {built}"
        near, before = NEAR[precision.dtype()], [_found(member) for member in members]
        packed = _packed(members, even if even.met else nullcontext())
        if next(_apart(before, alone, packed, near), None) is None:
            return None
        moved = _alone(members, begun, even, by=MOVED[precision.dtype()])
        found = next(_apart(before, alone, packed, near, moved), None)
        return found and f"in a pack {found} is not what it is alone"
    return shorten(failed, 240, placeholder=" …")


def _members(run: Run, recipe: Recipe) -> list[Run]:
    """The runs before their first steps."""
    splits = _few(prepare(run.splits, recipe, run.device), _batch(run))
    metrics = {
        name: WholeSet(_nothing) if isinstance(metric, WholeSet) else metric
        for name, metric in run.task.metrics.items()
    }
    task = replace(run.task, metrics=metrics)
    return [Run.start(task, _own(recipe, number), splits=own, device=run.device) for number, own in enumerate(splits)]


def _nothing(output: Tensor, target: Tensor) -> float:  # noqa: ARG001
    """In the place of a metric that a few samples may not have, as AUC where they are of one class."""
    return 0.0


def _batch(run: Run) -> int:
    return min(run.plan.batch_size, BATCH)


def _own(recipe: Recipe, number: int) -> Recipe:
    """What the member of this number is trained by."""
    seeds, optimizer = recipe.seeds, recipe.optimizer
    if is_dataclass(optimizer):
        optimizer = replace(optimizer, lr=optimizer.lr * (1 - 0.1 * number))
    seeds = replace(seeds, init=seeds.init + number, order=seeds.order + number)
    return replace(recipe, seed=seeds, optimizer=optimizer)


def _few(splits: Splits[Any], batch: int) -> list[Splits[Any]]:
    """Each member's sets: of the training set a batch and half of one, other samples for each where there are enough; of the other
    sets the first samples.
    """
    train = cast("Tensors", splits.train)
    samples = len(train[-1])
    count = min(samples, batch + math.ceil(batch / 2))

    def first(tensors: Tensors) -> Tensors:
        return tuple(tensor[:BATCH] for tensor in tensors)

    val, test = first(splits.val), first(splits.test)
    more = {name: first(tensors) for name, tensors in splits.more.items()}
    begins = [min(number * count, samples - count) for number in range(MEMBERS)]
    return [
        Splits(train=tuple(tensor[begin : begin + count] for tensor in train), val=val, test=test, more=more)
        for begin in begins
    ]


def _alone(
    members: Sequence[Run], begun: Sequence[Mapping[str, Any]], even: EvenDraws, *, by: float = 0.0
) -> list[Found]:
    """What runs as these had ``begun`` come to one by one, their weights moved ``by`` a share."""
    found = []
    for member, state in zip(members, begun, strict=True):
        run = Run.start(member.task, member.recipe, splits=member.splits, device=member.device)
        run.load(copy.deepcopy(state))
        with torch.no_grad():
            for parameter in run.parameters if by else ():
                parameter.mul_(1 + by * torch.linspace(-1, 1, parameter.numel()).to(parameter).view(parameter.shape))
        with even:
            for epoch in epochs(run):
                if epoch.epoch == EPOCHS:
                    break
        found.append(_found(run))
    return found


def _packed(members: Sequence[Run], drawing: AbstractContextManager[object]) -> list[Found]:
    """What the runs come to at once, ``drawing`` as they did alone."""
    first = members[0]
    program = Program(first.module, common(first.loss), first.recipe.precision, first.device)
    with drawing:
        pack = Pack(members, program, Meter(first.device))
        for _ in range(min(EPOCHS, first.recipe.epochs)):
            pack.epoch()
    return [_found(member) for member in members]


def _found(run: Run) -> Found:
    """Where a run is: what it was measured at, then its tensors."""
    rows = {
        f"{name} of epoch {row['epoch']}": torch.tensor(float(value))
        for row in run.history
        for name, value in row.items()
        if "/" in name and not name.startswith("system/")
    }
    modules = {"": run.module, "the average's ": run.average.module if run.average is not None else None}
    tensors = {
        f"{whose}{name}": tensor
        for whose, module in modules.items()
        if module is not None
        for name, tensor in (*module.named_parameters(), *module.named_buffers())
    }
    return {name: value.detach().to(torch.float64, copy=True) for name, value in {**rows, **tensors}.items()}


def _apart(
    begun: Sequence[Found],
    alone: Sequence[Found],
    packed: Sequence[Found],
    near: float,
    moved: Sequence[Found] | None = None,
) -> Iterator[str]:
    """What differs by more than it may. What is not finite alone is not compared, nor are metrics, and a test set that is looked at
    by them, where rounding comes to anything: they may go by whether one number is above another.
    """
    for member, wanted in enumerate(alone):
        rough = moved is not None and any(_off(begun[member], wanted, moved[member], name, near) > 0 for name in wanted)
        for name in wanted:
            if rough and "/" in name and not name.startswith(("train/loss ", "val/loss ")):
                continue
            more = TIMES * (moved[member][name] - wanted[name]).norm() if moved is not None else 0.0
            if not _off(begun[member], wanted, packed[member], name, near) <= more:
                yield name


def _off(begun: Found, wanted: Found, found: Found, name: str, near: float) -> Tensor | float:
    """By how much a tensor is farther off than it may be; not at all where it is not finite alone."""
    value, other = wanted[name], found.get(name)
    if other is None or other.shape != value.shape:
        return math.inf
    if not bool(value.isfinite().all()):
        return -math.inf
    change = (value - begun[name]).norm() if name in begun else value.norm()
    over: Tensor = (other - value).norm() - near * (change + 1e-9 * value.norm()) - 1e-14
    return over
