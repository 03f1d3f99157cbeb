"""What a run is measured by: passes over its validation sets, over all of their samples or some."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from trainables.data import feed
from trainables.data.source import chosen, count
from trainables.evaluate import evaluate
from trainables.seeds import generator, seeded
from trainables.validation.validation import Beside, Preparing, due

if TYPE_CHECKING:
    from trainables.data.source import Set
    from trainables.run import Run
    from trainables.task import Tensors
    from trainables.telemetry import Meter
    from trainables.validation.validation import Validation


def prepared(run: Run) -> None:
    """Let the recipe's policy make what it needs. Raises ConflictError for a model that it cannot ask."""
    policy = run.recipe.validation
    if isinstance(policy, Preparing):
        policy.prepare(run)


def validated(run: Run) -> Mapping[str, float]:
    """What the recipe's policy asks for at an epoch's end: a full pass, or what it measures instead, named so."""
    if run.average is not None:
        run.average.epoch_ended(run.epoch, run.plan.epochs, lambda: inputs(run))
    policy = run.recipe.validation
    if due(policy, run.epoch, run.plan.epochs, run.history, run.task.goal):
        full = full_pass(run)
        return full | _beside(policy, run, full) if isinstance(policy, Beside) and policy.beside else full
    return {f"{name}_{policy.kind}": value for name, value in policy.instead(run).items()}


def _beside(policy: Validation, run: Run, full: Mapping[str, float]) -> dict[str, float]:
    """What the policy measures instead, beside the full pass, and how far it is off."""
    found: dict[str, float] = {}
    for name, value in policy.instead(run).items():
        found[f"{name}_{policy.kind}"] = value
        if name in full:
            found[f"{name}_{policy.kind}_error"] = value - full[name]
    return found


def looked(run: Run, batches: Iterator[Tensors], meter: Meter) -> Iterator[Tensors]:
    """The batches; after those that the policy names, the run is looked at, and trained on as if it had not been.

    Outermost of all that batches go through: a state that is kept after the same batch has the look in it.
    """
    at = run.recipe.validation.within(run.plan.steps_per_epoch)
    return _looked(run, batches, meter, at) if at else batches


def full_pass(run: Run) -> dict[str, float]:
    """Every validation set with the weights that would be used, and ``val`` with the raw ones too beside an average."""
    return _pass(run, {name: run.splits.named()[name] for name in sets(run)})


def sample_pass(run: Run, share: float) -> dict[str, float]:
    """The same over a random ``share`` of each set, one sample at least; all workers draw the same."""
    return _pass(run, {name: _drawn(run, name, share) for name in sets(run)})


def sets(run: Run) -> list[str]:
    """The validation sets by the names under which they are logged; what is chosen is chosen on the first."""
    return ["val", *(f"val_{name}" for name in run.splits.more)]


def evaluated(run: Run, name: str, samples: Set, *, raw: bool = False) -> dict[str, float]:
    """Loss and metrics over these samples of the set ``name``, with the weights that would be used or the ``raw`` ones."""
    values = evaluate(
        run.module if raw else run.deployed,
        samples,
        loss=run.loss,
        metrics=run.task.metrics,
        precision=run.recipe.precision,
        size=run.evaluation_batch,
        world=run.world,
    )
    return {f"{name}/{metric}{'_raw' if raw else ''}": value for metric, value in values.items()}


def _pass(run: Run, samples: Mapping[str, Set]) -> dict[str, float]:
    measured: dict[str, float] = {}
    for name, those in samples.items():
        measured |= evaluated(run, name, those)
    if run.average is not None:
        measured |= evaluated(run, "val", samples["val"], raw=True)
    return measured


def _drawn(run: Run, name: str, share: float) -> Set:
    """Some of a set's samples, in the order in which they lie: sources read them faster so."""
    samples = run.splits.named()[name]
    number = count(samples)
    drawn = generator("validation", name, run.seeds.order, run.epoch, run.tally.batches)
    rows: Tensor = torch.randperm(number, generator=drawn)[: max(1, round(share * number))]
    return chosen(samples, rows.sort().values)


def _looked(run: Run, batches: Iterator[Tensors], meter: Meter, at: frozenset[int]) -> Iterator[Tensors]:
    for batch in batches:
        yield batch
        if run.tally.batches in at:
            begun = time.perf_counter()
            with meter.phase("validate"):
                run.tally.looks.append(look(run))
            run.tally.looked += time.perf_counter() - begun


def look(run: Run) -> dict[str, float]:
    """One look between two steps; modes and generators are put back."""
    policy = run.recipe.validation
    with seeded(run.device, "look", run.seeds.order, run.epoch, run.tally.batches):
        values = policy.instead(run)
    run.training()
    ending = f"_{policy.kind}" if policy.kind else ""
    where = {"batch": run.tally.batches, "step": run.step}
    return {**where, **{f"{name}{ending}": value for name, value in values.items()}}


def inputs(run: Run) -> Iterator[tuple[Tensor, ...]]:
    """The training inputs in this epoch's order; as they lie they may be sorted by class."""
    for *given, _ in feed.training(run, run.evaluation_batch, whole=True):
        yield tuple(given)
