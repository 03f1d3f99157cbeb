"""Steps of a recipe's own loop for instruments: on batches of their choice, without validation, and leaving nothing behind."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from trainables.fit import fit
from trainables.validation import EveryEpoch

if TYPE_CHECKING:
    from trainables.recipe import Recipe
    from trainables.run import Run
    from trainables.task import Splits, Task, Tensors

Feeding = Callable[["Run", "Iterator[Tensors]"], "Iterator[Tensors]"]
"""(run, the epoch's own batches) -> the batches to train on; what it does after a ``yield`` is done after that batch's step."""


class _EndedError(Exception):
    """There are no more batches."""


def stepped(
    task: Task,
    recipe: Recipe,
    feeding: Feeding,
    *,
    splits: Splits[Any] | None = None,
    device: str | torch.device = "cpu",
    state: Mapping[str, Any] | None = None,
) -> None:
    """Train a run of its own on what ``feeding`` hands out until that ends, from scratch or from a copy of ``state``.

    A step is ``fit``'s, with the recipe's loss, precision, clip and all that belongs to a step; nothing is compiled, validated or
    stopped early, and no hook is called. The state and all global generators are afterwards what they were.
    """
    done = state["epoch"] if state is not None else 0
    settings = replace(
        recipe, epochs=max(recipe.epochs, done + 1), compile=None, validation=EveryEpoch(), stop=None, hooks=()
    )

    def through(run: Run, own: Iterator[Tensors]) -> Iterator[Tensors]:
        yield from feeding(run, own)
        raise _EndedError  # before the epoch's end, which would validate

    with untouched(), suppress(_EndedError):
        next(fit(task, settings, splits=splits, device=device, state=copy.deepcopy(state), through=through))


@contextmanager
def untouched() -> Iterator[None]:
    """Put the global generators of Python, numpy and torch back to where they were before the block."""
    python, numbers, cpu = random.getstate(), np.random.get_state(), torch.get_rng_state()
    gpus = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numbers)
        torch.set_rng_state(cpu)
        if gpus:
            torch.cuda.set_rng_state_all(gpus)
