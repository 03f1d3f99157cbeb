"""Two short runs in a pack beside the same two alone."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, fields, is_dataclass, replace
from textwrap import shorten
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from trainables import dropout
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
from trainables.recipe import Adaptable
from trainables.run import Run
from trainables.task import Splits
from trainables.telemetry import Meter

if TYPE_CHECKING:
    from trainables.recipe import Model, Recipe
    from trainables.task import Tensors

MEMBERS, EPOCHS = 2, 2

BATCH = 8
"""Samples of a batch, and of a validation or test set, at most."""

MOVED = {torch.float64: 1e-10, torch.float32: 1e-5}
"""The share of itself by which each weight is moved to see what rounding may come to: more than rounding moves it."""

NEAR = {torch.float64: 1e-4, torch.float32: 1e-2}
"""What a tensor may be off by, as a share of its own change, and what it comes to, ``TIMES``, where weights are moved."""

TIMES = 10.0

Found = Mapping[str, Tensor]
"""A run's numbers and tensors in double precision, by what they are."""


def otherwise(run: Run) -> str | None:
    """What two runs like this one, with seeds, a learning rate and data of their own, have otherwise in a pack than alone, as a
    sentence.

    They go on for two epochs, each of two small batches of different lengths, without autocast; what they draw from torch's global
    generators is held, and where that cannot be done, nothing is dropped. None where nothing differs by more than weights moved
    about as little as rounding moves them make of it. Metrics of whole sets are left out: each member's are its own. Raises what a
    pack of them raises.
    """
    found, missed = _compared(run)
    if missed:
        found, missed = _compared(run, dropping=False)
    return f"it draws by {', '.join(missed)}, so that it cannot be compared with itself alone" if missed else found


def _compared(run: Run, *, dropping: bool = True) -> tuple[str | None, list[str]]:
    """What differs, and what was drawn that cannot be held."""
    even = EvenDraws()
    try:
        members = _members(run, dropping=dropping)
        begun = [copy.deepcopy(member.state()) for member in members]
        alone = _alone(members, begun, even)
    except Exception as error:
        if out_of_memory(error):
            raise
        return shorten(f"a short run of it fails alone ({type(error).__name__}: {error})", 240, placeholder=" …"), []
    if even.missed:
        return None, sorted(even.missed)
    if (built := next(differences(members), None)) is not None:
        return f"no two of its kind can be packed: {built}", []
    if even.met and not all(bool(value.isfinite().all()) for found in alone for value in found.values()):
        return "what it draws cannot be held, so that it cannot be compared with itself alone", []
    before, dtype = [_found(member) for member in members], members[0].recipe.precision.dtype()
    packed = _packed(members, even.held() if even.met else nullcontext())
    if next(_apart(before, alone, packed, NEAR[dtype]), None) is None:
        return None, []
    moved = _alone(members, begun, even, by=MOVED[dtype])
    name = next(_apart(before, alone, packed, NEAR[dtype], moved), None)
    return name and f"in a pack {name} is not what it is alone", []


@dataclass(frozen=True, slots=True)
class _Adapted:
    """A model that has its sizes: a few samples may not have all classes."""

    model: Model

    def build(self) -> nn.Module:
        return self.model.build()


def _members(run: Run, *, dropping: bool) -> list[Run]:
    """The runs before their first steps."""
    recipe, model = run.recipe, run.recipe.model
    if isinstance(model, Adaptable):
        model = _Adapted(model.adapted(run.splits.shape(run.loss)))
    recipe = replace(
        recipe,
        model=model,
        precision=recipe.precision if isinstance(recipe.precision, FP64) else FP32(),
        split=None,
        batch_size=_batch(run),
        dropout=recipe.dropout if dropping else None,
    )
    metrics = {
        name: WholeSet(_nothing) if isinstance(metric, WholeSet) else metric
        for name, metric in run.task.metrics.items()
    }
    task, splits = replace(run.task, metrics=metrics), _few(prepare(run.splits, recipe, run.device), _batch(run))
    members = [
        Run.start(task, _own(recipe, number), splits=own, device=run.device) for number, own in enumerate(splits)
    ]
    for member in members if not dropping else ():
        dropout.apply(member.module, 0.0)
    return members


def _nothing(output: Tensor, target: Tensor) -> float:  # noqa: ARG001
    """In the place of a metric that a few samples may not have, as AUC where they are of one class."""
    return 0.0


def _batch(run: Run) -> int:
    return min(run.plan.batch_size, BATCH)


def _own(recipe: Recipe, number: int) -> Recipe:
    """What the member of this number is trained by."""
    seeds, optimizer = recipe.seeds, recipe.optimizer
    if is_dataclass(optimizer) and any(field.name == "lr" and field.init for field in fields(optimizer)):
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
        with even.held():
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
