"""What packs are measured on, and the loop by hand beside them."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Self

from benchmarks.loops.work import LR, Work, batches, evaluated
from trainables.models import CNN, GRU, LSTM, MLP, ResidualMLP, Transformer

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    import trainables as t
    from trainables.recipe import Model
    from trainables.run import Run

HELD_OUT = 32
"""Samples of the validation and the test set: an epoch's end is part of its steps."""

FAR = 1_000_000
"""Epochs of a run that is ended from outside."""

KINDS: dict[str, tuple[str, Model, tuple[int, ...]]] = {
    "mlp5k": ("64-48-32-10 perceptron", MLP(widths=(48, 32)), (64,)),
    "mlp9k": ("64-64-64-10 perceptron", MLP(widths=(64, 64)), (64,)),
    "mlp86k": ("64-256-256-10 perceptron", MLP(widths=(256, 256)), (64,)),
    "residual": ("residual perceptron, width 32, 2 blocks", ResidualMLP(width=32), (64,)),
    "cnn": ("CNN, 8 and 16 channels, batch norm, 8 x 8", CNN(channels=(8, 16)), (1, 8, 8)),
    "gru": ("GRU, width 32, 16 steps of 8", GRU(width=32), (16, 8)),
    "lstm": ("LSTM, width 32, 16 steps of 8", LSTM(width=32), (16, 8)),
    "transformer": ("transformer, width 32, 2 blocks, 16 steps of 8", Transformer(width=32), (16, 8)),
}
"""Each network by its name: what it is, and the shape of a sample."""


def work_of(name: str, batch: int, steps: int) -> Work:
    """A network with data for so many steps an epoch."""
    says, model, shape = KINDS[name]
    return Work(
        name=name, says=f"{says}, batch {batch}", model=model, shape=shape, batch=batch, steps=steps, held_out=HELD_OUT
    )


def recipe_of(work: Work, member: int) -> t.Recipe:
    """A member's: its own seeds and learning rate; all parameters are in one group, as by hand."""
    import trainables as t

    return t.Recipe(
        model=work.model,
        batch_size=work.batch,
        epochs=FAR,
        optimizer=t.AdamW(lr=LR * (1 + member / 100), decay_vectors=True),
        seed=t.Seeds(init=member, order=member, split=0),
    )


def bare(work: Work, device: torch.device, *, compiled: bool = False) -> Iterator[float]:
    """The first member's training as one would write it by hand, an epoch at a time; its mean loss comes back.

    Fused AdamW, all data on the device, one gather an epoch and views from then on, the loss read once; the validation set after
    each epoch and the test set after the best ones, as the product does.
    """
    import torch
    from torch.nn import functional

    from trainables.fit import arithmetic

    splits = work.data()
    (inputs, target), val, test = [
        tuple(t.to(device) for t in part) for part in (splits.train, splits.val, splits.test)
    ]
    model = adapted(work, splits).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LR, fused=True)
    called: Callable[[Tensor], Tensor] = torch.compile(model) if compiled else model
    epoch, best = 0, 0.0
    while True:
        epoch += 1
        with arithmetic(recipe_of(work, 0)):  # as the product has it; torch's own is coarser on a GPU
            model.train()
            loss_sum = torch.zeros((), device=device)
            for x, y in batches(inputs, target, work.order(epoch).to(device), work.batch):
                loss = functional.cross_entropy(called(x), y)
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                optimizer.zero_grad()
                loss_sum += loss.detach()
            _, accuracy = evaluated(model, *val)
            if accuracy > best:
                best = accuracy
                evaluated(model, *test)
        yield float(loss_sum) / work.steps


def adapted(work: Work, splits: t.Splits) -> nn.Module:
    """The first member's module at its start, as the product draws it."""
    from trainables import CrossEntropy
    from trainables.recipe import Adaptable

    assert isinstance(work.model, Adaptable)
    return replace(work, model=work.model.adapted(splits.shape(CrossEntropy()))).module()


def alone(work: Work, device: torch.device) -> Iterator[float]:
    """The same by ``fit``."""
    from benchmarks.loops.ours import task
    from trainables.fit import fit

    for epoch in fit(task(work), recipe_of(work, 0), device=device):
        yield epoch.metrics["train/loss"]


def together(work: Work, size: int, device: torch.device) -> Iterator[float]:
    """A pack of so many members; the first one's loss comes back. Recorded at once: a long run comes to that soon."""
    from benchmarks.loops.ours import task
    from trainables.fused.pack import Pack
    from trainables.fused.program import Program
    from trainables.fused.varied import common
    from trainables.run import Run
    from trainables.telemetry import Meter

    told = task(work)
    splits = told.load(0)
    runs: list[Run] = [Run.start(told, recipe_of(work, member), splits=splits, device=device) for member in range(size)]
    first = runs[0]
    program = Program(first.module, common(first.loss), first.recipe.precision, device, recorded_from=2)
    pack = Pack(runs, program, Meter(device))
    while True:
        yield pack.epoch()[0].metrics["train/loss"]


@dataclass(kw_only=True, slots=True)
class Paced:
    """A loop that is taken epoch by epoch: seconds of each by ``clock``, its loss, and the memory that the first ones need at most.

    ``peak_bytes`` is by how much the process's resident memory grew at most in them, building included, or its memory on a GPU;
    None where the system does not tell. What the loop before has given back and the process still holds is not in it, so it is a
    lower bound.
    """

    epochs: Iterator[float]
    device: torch.device
    clock: Callable[[], float]
    seconds: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    peak_bytes: int | None = None

    @classmethod
    def of(cls, epochs: Iterator[float], device: torch.device) -> Self:
        """A loop, with the clock that tells how long its epochs take there."""
        from trainables.fused.probe import clock_of

        return cls(epochs=epochs, device=device, clock=clock_of(device))

    def warmed(self) -> None:
        """The first two epochs, which are not timed: what is recorded of a pack is recorded in them."""
        before = _reset(self.device)
        self.losses += [next(self.epochs), next(self.epochs)]
        after = _most(self.device)
        self.peak_bytes = after - before if before is not None and after is not None else None

    def turn(self) -> float:
        """How long the next epoch takes."""
        begun = self.clock()
        self.losses.append(next(self.epochs))
        self.seconds.append(self.clock() - begun)
        return self.seconds[-1]


def _reset(device: torch.device) -> int | None:
    """Give back what is free, and count the peak from here on: the bytes that are held now."""
    if device.type == "cuda":
        import torch

        torch.cuda.reset_peak_memory_stats(device)
        return torch.cuda.memory_allocated(device)
    try:
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")
    except (OSError, AttributeError):
        return None
    return _status("VmRSS")


def _most(device: torch.device) -> int | None:
    """Bytes that were held at most since ``_reset``."""
    if device.type == "cuda":
        import torch

        return torch.cuda.max_memory_allocated(device)
    return _status("VmHWM")


def _status(name: str) -> int | None:
    """Bytes of a line in the kernel's account of this process."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith(f"{name}:")), None)
