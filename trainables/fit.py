"""The training loop: an iterator of epochs."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from trainables.batches import parts, shuffled
from trainables.evaluate import evaluate, total
from trainables.run import Run
from trainables.seeds import generator, seeded
from trainables.telemetry import Meter
from trainables.world import World

if TYPE_CHECKING:
    from trainables.recipe import Recipe
    from trainables.task import Splits, Task, Tensors


@dataclass(frozen=True, kw_only=True, slots=True)
class Epoch:
    """One epoch as it went.

    ``metrics`` are by set and name (``train/loss``, ``val/accuracy``; ``val/accuracy_raw`` beside an average; ``test/`` where
    validation chose this epoch over all before). ``seconds`` are by phase. ``run`` is the live state behind it.
    """

    epoch: int
    step: int
    samples: int
    metrics: Mapping[str, float]
    lr: float
    seconds: Mapping[str, float]
    improved: bool
    run: Run = field(repr=False, compare=False)


def fit(
    task: Task,
    recipe: Recipe,
    *,
    splits: Splits | None = None,
    device: str | torch.device = "cpu",
    state: Mapping[str, Any] | None = None,
    world: World | None = None,
) -> Iterator[Epoch]:
    """Train, an epoch at a time; ``state`` (of ``Run.state``) goes on where it was taken, bit for bit on a CPU.

    Each of several workers calls it with its own ``world``; all yield the same epochs, reduced over the workers.
    Raises ConflictError before the first step when the recipe, the task or the data cannot be trained.
    """
    run = Run.start(task, recipe, splits=splits, device=torch.device(device), world=world)
    if state is not None:
        run.load(state)
    meter = Meter(run.device)
    while run.epoch < recipe.epochs:
        run.epoch += 1
        drawing = seeded(run.device, run.seeds.order, run.epoch, *run.world.stream)
        with meter.phase("train"), recipe.precision.arithmetic(), drawing:
            trained = _train(run)
        with meter.phase("validate"), recipe.precision.arithmetic():
            metrics = trained | _measure(run)
            improved = run.improves(metrics)
            if improved:
                metrics |= _evaluated(run, "test")
        seconds = meter.read()
        run.history.append(_row(run, metrics, meter))
        yield Epoch(
            epoch=run.epoch,
            step=run.step,
            samples=run.samples,
            metrics=metrics,
            lr=run.lr,
            seconds=seconds,
            improved=improved,
            run=run,
        )


def _train(run: Run) -> dict[str, float]:
    """One pass over the training set: accumulate, unscale, clip, step, average, schedule, in this order.

    A step that the scaler skips has its samples counted and nothing else: weights, average and schedule stay where they are.
    """
    recipe, plan, world, optimizer = run.recipe, run.plan, run.world, run.optimizer
    first = run.step
    run.replica.train()
    loss_sum = torch.zeros((), device=run.device, dtype=torch.float64)
    norm_sum = torch.zeros((), device=run.device, dtype=torch.float64)
    for batch in shuffled(run.splits.train, plan.batch_size, generator(run.seeds.order, run.epoch)):
        loss_sum += _accumulate(run, batch)
        if run.scaler.unscale(optimizer):
            if recipe.clip is not None:
                norm_sum += recipe.clip(run.parameters)
            run.schedule()
            optimizer.step()
            if run.average is not None:
                run.average.update()
            run.step += 1
        optimizer.zero_grad()
        run.samples += len(batch[-1])
    world.settle(run.buffers)
    trained = {"train/loss": float(world.total(loss_sum)) / plan.samples}
    if recipe.clip is not None and run.step > first:
        trained["train/grad_norm"] = float(norm_sum) / (run.step - first)
    return trained


def _accumulate(run: Run, batch: Tensors) -> Tensor:
    """Add the gradient of the batch's mean loss, micro-batch by micro-batch; the sum of this worker's losses comes back."""
    share = run.world.part(batch)
    if len(share[-1]) == 0:
        return _attend(run, batch)
    # The workers' gradients are averaged, which takes out their number again.
    scale = run.world.size / len(batch[-1])
    micro_batches = list(parts(share, run.plan.micro_batch))
    summed = torch.zeros((), device=run.device, dtype=torch.float64)
    for number, (*inputs, target) in enumerate(micro_batches, start=1):
        with nullcontext() if number == len(micro_batches) else run.world.apart(run.replica):
            with run.recipe.precision.autocast(run.device):
                loss = total(run.loss(run.replica(*inputs), target), len(target))
            run.scaler.scale(loss * scale).backward()  # type: ignore[no-untyped-call]
        summed += loss.detach()
    return summed


def _attend(run: Run, batch: Tensors) -> Tensor:
    """Take part in a step without a sample of one's own: one of the others', with weight zero."""
    run.replica.eval()  # one sample is too few for BatchNorm in training, and must not enter its statistics
    *inputs, target = (tensor[:1] for tensor in batch)
    with run.recipe.precision.autocast(run.device):
        loss = total(run.loss(run.replica(*inputs), target), 1)
    run.scaler.scale(loss * 0.0).backward()  # type: ignore[no-untyped-call]
    run.replica.train()
    return torch.zeros((), device=run.device, dtype=torch.float64)


def _measure(run: Run) -> dict[str, float]:
    """Validation of the weights that would be used, and of the raw ones beside an average."""
    measured = _evaluated(run, "val")
    if run.average is not None:
        measured |= {f"{name}_raw": value for name, value in _evaluated(run, "val", raw=True).items()}
    return measured


def _evaluated(run: Run, name: str, *, raw: bool = False) -> dict[str, float]:
    tensors: tuple[Tensor, ...] = run.splits.val if name == "val" else run.splits.test
    values = evaluate(
        run.module if raw else run.deployed,
        tensors,
        loss=run.loss,
        metrics=run.task.metrics,
        precision=run.recipe.precision,
        size=run.plan.evaluation_batch,
        world=run.world,
    )
    return {f"{name}/{metric}": value for metric, value in values.items()}


def _row(run: Run, metrics: Mapping[str, float], meter: Meter) -> dict[str, Any]:
    """The history's row: what the ledger keeps of an epoch. Costs are sums since the run began, over all its attempts."""
    before = run.history[-1] if run.history else {}
    used = _of_all(run, meter.used())
    sums = {name: before.get(name, 0.0) + value for name, value in used.items()}
    skipped = {"skipped_steps": run.scaler.skipped} if run.scaler.skipped else {}
    return {
        "epoch": run.epoch,
        "step": run.step,
        **skipped,
        "samples": run.samples,
        "lr": run.lr,
        **sums,
        "peak_bytes": max(_peak(run, meter), before.get("peak_bytes", 0)),
        "time": time.time(),
        **metrics,
    }


def _of_all(run: Run, used: dict[str, float]) -> dict[str, float]:
    """What all workers used: CPU and GPU time are their sums, wall time is the first worker's."""
    if run.world.size == 1:
        return used
    summed = {name: value for name, value in used.items() if name in ("cpu_seconds", "gpu_seconds")}
    sums = run.world.total(torch.tensor([*summed.values()], dtype=torch.float64, device=run.device))
    return used | dict(zip(summed, sums.tolist(), strict=True))


def _peak(run: Run, meter: Meter) -> int:
    """The most that one worker's device held."""
    if run.world.size == 1:
        return meter.peak_bytes()
    return int(run.world.most(torch.tensor(meter.peak_bytes(), dtype=torch.int64, device=run.device)))
