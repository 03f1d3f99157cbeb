"""A first step of every model in the sweep, in the driver, before anything is started."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from sweeps.engine import last_batch, measures
from sweeps.engine.errors import QuestionError
from sweeps.engine.place import said
from sweeps.engine.spec import Sweep
from trainables import FP32, Recipe
from trainables.data.source import count
from trainables.describe import Scalar, plain, text
from trainables.errors import ConflictError
from trainables.validation.validation import Preparing

if TYPE_CHECKING:
    from trainables import Splits
    from trainables.run import Run


def rehearse(sweep: Sweep) -> None:
    """Load the data, and put one small batch through forward, loss, backward and metrics for each distinct model; a validation
    policy that makes something of the model makes it. Where an epoch's last batch is a single sample, batch norms are tried on one.

    What would fail in every trial fails here, once. Raises ConflictError for data and settings that cannot be trained, and
    QuestionError, with the user's own traceback, for a model, loss or metric that raises, and for a metric that is no mean over
    samples and would be taken for one.
    """
    splits = load(sweep)
    seen: list[object] = []
    for recipe in (recipe for level in sweep.levels() for recipe in _corners(sweep, level)):
        tried = (plain(recipe.model), plain(recipe.validation) if isinstance(recipe.validation, Preparing) else None)
        if tried not in seen:
            seen.append(tried)
            _step(sweep, recipe, splits)
    if conflicts := _last_batches(sweep, splits):
        raise ConflictError(f"task {sweep.task.name}", conflicts)


def _corners(sweep: Sweep, level: Mapping[str, Scalar]) -> list[Recipe]:
    """The recipes of a level that are tried, as a heat would run them."""
    ends = [sweep.corner(level, end) for end in range(sweep.ends)]
    return [for_a_cpu(sweep, replace(recipe, seed=sweep.heat_seeds())) for recipe in ends]


def _last_batches(sweep: Sweep, splits: Splits) -> list[str]:
    """What batch norms refuse of last batches, each model of a level with each of its batch sizes, since a search pairs them.

    With several workers the last batch is shared out; it is left to the trials.
    """
    found: dict[str, None] = {}
    samples: dict[str, int] = {}
    layers: dict[str, str | None] = {}
    for level in sweep.levels():
        recipes = _corners(sweep, level) if sweep.workers(level) == 1 else []
        batches = sorted({recipe.effective_batch(1) for recipe in recipes})
        for recipe in recipes:
            divided, model = repr(plain(recipe.split)), repr((plain(recipe.model), recipe.freeze))
            if divided not in samples:
                with _told("the split", sweep, recipe):
                    own = splits if recipe.split is None else recipe.split(splits, recipe.seeds.split)
                samples[divided] = count(own.train)
            single = [size for size in batches if last_batch.single(samples[divided], size)]
            if single and model not in layers:
                layers[model] = _refusing(sweep, recipe, splits)
            layer = layers.get(model)
            if layer is not None:
                found |= {last_batch.refused(samples[divided], size, layer): None for size in single}
    return [*found]


def for_a_cpu(sweep: Sweep, recipe: Recipe) -> Recipe:
    """The recipe as the driver's CPU can try it: a precision that only GPUs have is left to the trials that will have one."""
    import torch

    gpus = sweep.resources.gpus
    there = gpus is None and (torch.cuda.is_available() or "RAY_ADDRESS" in os.environ)
    if (gpus or there) and recipe.precision.unsupported(torch.device("cpu")):
        return replace(recipe, precision=FP32())
    return recipe


def load(sweep: Sweep) -> Splits:
    """The data of the heats. Raises ConflictError for what cannot be trained on, QuestionError where the user's function raises."""
    try:
        return sweep.task.load(sweep.seed)
    except ConflictError:
        raise
    except Exception as error:
        raise QuestionError(f"the data of task {sweep.task.name!r} cannot be loaded: {said(error)}") from error


def _begun(sweep: Sweep, recipe: Recipe, splits: Splits) -> Run:
    import torch

    from trainables.run import Run

    return Run.start(sweep.task, recipe, splits=splits, device=torch.device("cpu"))


def _refusing(sweep: Sweep, recipe: Recipe, splits: Splits) -> str | None:
    """The kind of batch norm of the recipe's model that cannot be trained on a single sample."""
    with _told("a last batch of one sample", sweep, recipe):
        return last_batch.refusing(_begun(sweep, recipe, splits))


def _step(sweep: Sweep, recipe: Recipe, splits: Splits) -> None:
    import torch

    from trainables.data.source import head, moved
    from trainables.evaluate import evaluate
    from trainables.losses import summed
    from trainables.metrics import WholeSet
    from trainables.modules import harmless
    from trainables.validation.passes import prepared

    with _told("the first step", sweep, recipe):
        run = _begun(sweep, recipe, splits)
        few = head(run.splits.train, min(4, run.plan.micro_batch))
        batch = moved(few, run.device, recipe.precision.dtype())
        output = harmless(run.module)(*batch[:-1])
        loss = summed(run.loss, output, batch[-1])
        loss.backward()  # type: ignore[no-untyped-call]
        averaged = {name: metric for name, metric in sweep.task.metrics.items() if not isinstance(metric, WholeSet)}
        evaluate(
            run.module,
            batch,
            loss=run.loss,
            metrics=averaged,
            precision=recipe.precision,
            size=len(batch[-1]),
        )
        if isinstance(output, torch.Tensor):
            measures.try_all(sweep.task.metrics, output.detach(), run.splits.val)
        prepared(run)


@contextmanager
def _told(what: str, sweep: Sweep, recipe: Recipe) -> Iterator[None]:
    """What the user's code raises meanwhile, as a QuestionError."""
    try:
        yield
    except (ConflictError, QuestionError):
        raise
    except Exception as error:
        raise QuestionError(
            f"{what} of task {sweep.task.name!r} with the model {text(recipe.model)} raises {said(error)}"
        ) from error
