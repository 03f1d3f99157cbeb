"""A first step of every model in the sweep, in the driver, before anything is started."""

from __future__ import annotations

import os
import traceback
from dataclasses import replace
from typing import TYPE_CHECKING

from sweeps.engine.errors import QuestionError
from sweeps.engine.spec import Sweep
from trainables import FP32, Recipe
from trainables.describe import plain, text
from trainables.errors import ConflictError
from trainables.validation.validation import Preparing

if TYPE_CHECKING:
    from trainables import Splits


def rehearse(sweep: Sweep) -> None:
    """Load the data, and put one small batch through forward, loss, backward and metrics for each distinct model; a validation
    policy that makes something of the model makes it.

    What would fail in every trial fails here, once. Raises ConflictError for data and settings that cannot be trained, and
    QuestionError, with the user's own traceback, for a model, loss or metric that raises.
    """
    splits = load(sweep)
    seen: list[object] = []
    for recipe in (sweep.corner(level, end) for level in sweep.levels() for end in range(sweep.ends)):
        tried = (plain(recipe.model), plain(recipe.validation) if isinstance(recipe.validation, Preparing) else None)
        if tried not in seen:
            seen.append(tried)
            _step(sweep, for_a_cpu(sweep, replace(recipe, seed=sweep.heat_seeds())), splits)


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
        raise QuestionError(f"the data of task {sweep.task.name!r} cannot be loaded: {_said(error)}") from error


def _said(error: Exception) -> str:
    """An exception of the user's code: what it says, and where, from the innermost frames."""
    frames = traceback.format_list(traceback.extract_tb(error.__traceback__)[-3:])
    return f"{type(error).__name__}: {error}\n\n{''.join(frames).rstrip()}"


def _step(sweep: Sweep, recipe: Recipe, splits: Splits) -> None:
    import torch

    from trainables.data.source import head, moved
    from trainables.evaluate import evaluate
    from trainables.losses import summed
    from trainables.modules import harmless
    from trainables.run import Run
    from trainables.validation.passes import prepared

    try:
        run = Run.start(sweep.task, recipe, splits=splits, device=torch.device("cpu"))
        few = head(run.splits.train, min(4, run.plan.micro_batch))
        batch = moved(few, run.device, recipe.precision.dtype())
        loss = summed(run.loss, harmless(run.module)(*batch[:-1]), batch[-1])
        loss.backward()  # type: ignore[no-untyped-call]
        evaluate(
            run.module,
            batch,
            loss=run.loss,
            metrics=sweep.task.metrics,
            precision=recipe.precision,
            size=len(batch[-1]),
        )
        prepared(run)
    except ConflictError:
        raise
    except Exception as error:
        raise QuestionError(
            f"the first step of task {sweep.task.name!r} with the model {text(recipe.model)} raises {_said(error)}"
        ) from error
