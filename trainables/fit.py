"""The training loop: an iterator of epochs."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from trainables.augment import augmented
from trainables.batches import unchanged
from trainables.compiled import warm
from trainables.data import feed
from trainables.determinism import deterministic
from trainables.gradients import accumulate
from trainables.losses import mean
from trainables.micro_batch import Auto
from trainables.run import Run
from trainables.telemetry import Meter, costs
from trainables.validation.passes import evaluated, looked, prepared, validated
from trainables.world import World

if TYPE_CHECKING:
    from trainables.batches import Through
    from trainables.recipe import Recipe
    from trainables.task import Splits, Task


@dataclass(frozen=True, kw_only=True, slots=True)
class Epoch:
    """One epoch as it went.

    ``metrics`` are by set and name (``train/loss``, ``val/accuracy``; ``val/accuracy_raw`` beside an average; ``test/`` where
    validation chose this epoch over all before, of a run that is ``tested``). An epoch that the recipe's ``validation`` passes over
    has no ``val/`` of all samples. ``seconds`` are by phase. ``run`` is the live state behind it.
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
    splits: Splits[Any] | None = None,
    device: str | torch.device = "cpu",
    state: Mapping[str, Any] | None = None,
    world: World | None = None,
    through: Through = unchanged,
    tested: bool = True,
) -> Iterator[Epoch]:
    """Train, an epoch at a time; ``state`` (of ``Run.state``) goes on where it was taken, bit for bit on a CPU.

    Each of several workers calls it with its own ``world``; all yield the same epochs, reduced over the workers. Training batches
    go ``through`` a transform, from iterator to iterator: what it does after its ``yield`` is done after that batch's step.
    Without ``tested`` the test set is never looked at. Raises ConflictError before the first step when the recipe, the task or the
    data cannot be trained.
    """
    run = Run.start(task, recipe, splits=splits, device=torch.device(device), world=world, tested=tested)
    if state is not None:
        run.load(state)
    yield from epochs(run, through)


def epochs(run: Run, through: Through = unchanged) -> Iterator[Epoch]:
    """What ``fit`` does with a run that has begun, or was loaded between two steps."""
    recipe, meter = run.recipe, Meter(run.device)
    if recipe.compile is not None:
        with meter.phase("compile"), arithmetic(recipe):
            warm(run)
    if run.epoch < recipe.epochs:
        with meter.phase("validate"), arithmetic(recipe):
            prepared(run)
    while run.epoch < recipe.epochs:
        run.begin_epoch()
        run.tally.energy = meter.joules
        with meter.phase("train"), arithmetic(recipe), run.drawing():
            trained = _train(run, through, meter)
        with meter.phase("validate"), arithmetic(recipe):
            metrics = {**trained, **validated(run)}
            improved = run.improves(metrics)
            if improved and run.tested:
                metrics |= evaluated(run, "test", run.splits.test)
        seconds = meter.read()
        run.history.append(_row(run, metrics, meter, seconds))
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


@contextmanager
def arithmetic(recipe: Recipe) -> Iterator[None]:
    """The process's switches as the recipe wants them."""
    with recipe.precision.arithmetic(), deterministic(wanted=recipe.deterministic):
        yield


def _train(run: Run, through: Through, meter: Meter) -> dict[str, float]:
    """One pass over the training set: accumulate, unscale, clip, add noise, step, average, schedule, in this order.

    A step that the scaler skips has its samples counted and nothing else: weights, average and schedule stay where they are.
    """
    recipe, plan, world, optimizer, tally = run.recipe, run.plan, run.world, run.optimizer, run.tally
    batches = feed.training(run, plan.batch_size, skip=tally.batches)
    if recipe.augment is not None:
        batches = augmented(batches, recipe.augment, tally.augmenting)
    for batch in looked(run, through(run, batches), meter):
        losses, weight = accumulate(run, batch)
        for loss in losses:
            tally.loss += loss
        tally.weight += weight
        if run.scaler.unscale(optimizer):
            if recipe.clip is not None:
                tally.norm += recipe.clip(run.parameters)
            if recipe.noise is not None:
                recipe.noise(run.parameters, run.step, run.seeds.order)
            run.schedule()
            optimizer.step()
            if run.average is not None:
                run.average.update()
            run.step += 1
            tally.steps += 1
        optimizer.zero_grad()
        run.samples += run.whole(batch)
        tally.batches += 1
    world.settle(run.buffers)
    trained = {"train/loss": float(mean(world.total(tally.loss), torch.as_tensor(tally.weight)))}
    if recipe.clip is not None and tally.steps:
        trained["train/grad_norm"] = float(tally.norm) / tally.steps
    return trained


def _row(run: Run, metrics: Mapping[str, float], meter: Meter, seconds: Mapping[str, float]) -> dict[str, Any]:
    """The history's row: what the ledger keeps of an epoch. Costs are sums since the run began, over all its attempts."""
    special = {
        "skipped_steps": run.scaler.skipped or None,
        "micro_batch": run.micro_batch if isinstance(run.recipe.micro_batch, Auto) else None,
        "dropout": run.rate,
        "within": run.tally.looks or None,
        "compile_seconds": seconds.get("compile"),
    }
    return {
        "epoch": run.epoch,
        "step": run.step,
        **{name: value for name, value in special.items() if value is not None},
        "samples": run.samples,
        "lr": run.lr,
        **costs(run, meter),
        "time": time.time(),
        **metrics,
    }
