"""Which recipes can be trained in one pack, and why one cannot be in any."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any

from trainables.averages import SWA
from trainables.averages.ema import EMA
from trainables.clip import Clips
from trainables.describe import plain
from trainables.fused.varied import common
from trainables.precision import BF16, FP32, FP64, TF32
from trainables.validation.validation import Beside

if TYPE_CHECKING:
    from trainables.recipe import Recipe
    from trainables.task import Task

WITHIN = "validation {}: a pack is not looked at within an epoch"

STEADY = (FP32, FP64, TF32, BF16)
"""Precisions that need no loss scaling."""


def unfit(recipe: Recipe) -> Iterator[str]:
    """Why a run by this recipe cannot be trained in a pack; nothing where it can, as far as the recipe tells."""
    if recipe.micro_batch is not None:
        yield "micro_batch: a pack takes the whole batch at once"
    for name, why in (
        ("augment", "what it draws is drawn run by run"),
        ("compile", "a compiled model is one run's"),
        ("recompute", "vmap knows no activation checkpointing"),
        ("hooks", "a hook is called with one run at a time"),
    ):
        if getattr(recipe, name):
            yield f"{name}: {why}"
    if type(recipe.precision) not in STEADY:
        yield f"precision {type(recipe.precision).__name__}: its scale, or its type, is one run's"
    if type(recipe.average) not in (type(None), EMA, SWA):
        yield f"average {type(recipe.average).__name__}: only EMA and SWA are known by rows"
    if recipe.validation.kind or (isinstance(recipe.validation, Beside) and recipe.validation.beside):
        yield f"validation {type(recipe.validation).__name__}: what it looks at is drawn run by run"
    elif recipe.validation.within(1000):
        yield WITHIN.format(type(recipe.validation).__name__)


def structure(task: Task, recipe: Recipe) -> str:
    """What runs of one pack have in common, as text: equal texts can be trained together.

    Left out is what each member has for itself: learning rate, decay, betas, momentum; schedule, clip's and average's settings,
    label smoothing and focal gamma, dropout rates, noise, epochs, early stopping, seeds.
    """
    optimizer = recipe.optimizer
    kept = {
        "task": task.name,
        "model": _without_rate(recipe.model),
        "batch": recipe.batch_size,
        "optimizer": [type(optimizer).__qualname__, _switches(optimizer)],
        "loss": common(recipe.loss or task.loss),
        "average": type(recipe.average).__name__,
        "clip": _kinds(recipe.clip),
        "precision": recipe.precision,
        "freeze": recipe.freeze,
        "deterministic": recipe.deterministic,
    }
    return json.dumps({name: plain(value) for name, value in kept.items()}, sort_keys=True)


def _without_rate(model: Any) -> Any:
    """A model whose dropout is some number, whichever; whether it is more than the rate of layers tell the modules."""
    found = plain(model)
    if is_dataclass(model) and isinstance(found, dict) and _number(found.get("dropout")):
        return {**found, "dropout": 0.0}
    return found


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _switches(part: Any) -> dict[str, Any]:
    """The settings of an optimizer that change what its step does, not by how much."""
    if not is_dataclass(part):
        return {"": plain(part)}
    values = {field.name: getattr(part, field.name) for field in fields(part)}
    switches = {name: value for name, value in values.items() if isinstance(value, bool)}
    off = {f"{name} off": values[name] == 0 for name in ("weight_decay", "momentum") if name in values}
    return switches | off


def _kinds(clip: Any) -> Any:
    if isinstance(clip, Clips):
        return [_kinds(clip.first), _kinds(clip.then)]
    return type(clip).__name__
