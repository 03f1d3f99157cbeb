"""The training loop: an iterator of epochs."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from trainables.batches import parts, shuffled
from trainables.evaluate import evaluate, total
from trainables.run import Run
from trainables.seeds import generator, seeded
from trainables.telemetry import Meter

if TYPE_CHECKING:
    from trainables.recipe import Recipe
    from trainables.task import Splits, Task


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
) -> Iterator[Epoch]:
    """Train, an epoch at a time; ``state`` (of ``Run.state``) goes on where it was taken, bit for bit on a CPU.

    Raises ConflictError before the first step when the recipe, the task or the data cannot be trained.
    """
    run = Run.start(task, recipe, splits=splits, device=torch.device(device))
    if state is not None:
        run.load(state)
    meter = Meter(run.device)
    while run.epoch < recipe.epochs:
        run.epoch += 1
        with meter.phase("train"), seeded(run.device, run.seeds.order, run.epoch):
            trained = _train(run)
        with meter.phase("validate"):
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
    """One pass over the training set: accumulate, clip, step, average, schedule, in this order."""
    recipe, plan, module, optimizer = run.recipe, run.plan, run.module, run.optimizer
    module.train()
    loss_sum = torch.zeros((), device=run.device, dtype=torch.float64)
    norm_sum = torch.zeros((), device=run.device, dtype=torch.float64)
    for batch in shuffled(run.splits.train, plan.batch_size, generator(run.seeds.order, run.epoch)):
        size = len(batch[-1])
        for *inputs, target in parts(batch, plan.micro_batch):
            with recipe.precision.autocast(run.device):
                loss = total(run.loss(module(*inputs), target), len(target))
            (loss / size).backward()  # type: ignore[no-untyped-call]
            loss_sum += loss.detach()
        if recipe.clip is not None:
            norm_sum += recipe.clip(run.parameters)
        run.schedule()
        optimizer.step()
        optimizer.zero_grad()
        if run.average is not None:
            run.average.update()
        run.step += 1
        run.samples += size
    trained = {"train/loss": float(loss_sum) / plan.samples}
    if recipe.clip is not None:
        trained["train/grad_norm"] = float(norm_sum) / plan.steps_per_epoch
    return trained


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
    )
    return {f"{name}/{metric}": value for metric, value in values.items()}


def _row(run: Run, metrics: Mapping[str, float], meter: Meter) -> dict[str, Any]:
    """The history's row: what the ledger keeps of an epoch. Costs are sums since the run began, over all its attempts."""
    before = run.history[-1] if run.history else {}
    used = meter.used()
    sums = {name: before.get(name, 0.0) + value for name, value in used.items()}
    return {
        "epoch": run.epoch,
        "step": run.step,
        "samples": run.samples,
        "lr": run.lr,
        **sums,
        "peak_bytes": max(meter.peak_bytes(), before.get("peak_bytes", 0)),
        "time": time.time(),
        **metrics,
    }
