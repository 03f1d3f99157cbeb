"""Magnitude pruning: the smallest weights become zero."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.utils import prune

from trainables.export.needed import ExportError
from trainables.fit import fit
from trainables.schedules import Constant

if TYPE_CHECKING:
    from trainables.recipe import Recipe
    from trainables.run import Run
    from trainables.task import Splits, Task, Tensors

KINDS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.RNNBase)
"""Modules whose weights can be small without meaning much: not norms, not positions, not time constants."""

SLOWER = 0.1
"""The learning rate of the epoch after pruning, as a share of the recipe's."""


def pruned(module: nn.Module, share: float) -> nn.Module:
    """A copy in which this share of the weights of all linear, convolutional and recurrent layers is zero.

    The smallest over all layers together, by magnitude (Han et al., 2015); biases stay. The zeros are plain weights: without a
    runtime that skips them, neither size nor time are less, but the file can be packed. Raises ExportError for a share outside
    (0, 1) and for a module without such layers.
    """
    if not 0 < share < 1:
        raise ExportError(f"a share of {share} cannot be pruned; it lies between 0 and 1, such as 0.5")
    scratch, copied = copy.deepcopy(module), copy.deepcopy(module)
    weights = [*prunable(scratch)]
    if not weights:
        raise ExportError(
            f"{type(module).__name__} has no linear, convolutional or recurrent layer of torch's own, so nothing can be pruned"
        )
    prune.global_unstructured(weights, pruning_method=prune.L1Unstructured, amount=share)
    # What it leaves behind, hooks and parameters in another order, stays on the scratch copy.
    with torch.no_grad():
        for (part, name), (other, _) in zip(weights, prunable(copied), strict=True):
            getattr(other, name).mul_(getattr(part, f"{name}_mask"))
    return copied


def prunable(module: nn.Module) -> Iterator[tuple[nn.Module, str]]:
    """Each weight that pruning looks at: its module, and its name there."""
    for part in module.modules():
        if isinstance(part, KINDS):
            yield from ((part, name) for name, one in part.named_parameters(recurse=False) if one.ndim > 1)


def zeros(module: nn.Module) -> float:
    """The share of zeros among the weights that pruning looks at; 0 where there are none."""
    weights = [getattr(part, name) for part, name in prunable(module)]
    count = sum(one.numel() for one in weights)
    return sum(int((one == 0).sum()) for one in weights) / count if count else 0.0


def tuned(
    task: Task, recipe: Recipe, module: nn.Module, *, splits: Splits[Any] | None, device: torch.device | str = "cpu"
) -> nn.Module:
    """A copy after one more epoch of the recipe at a tenth of its learning rate, in which zeros stay zero.

    Constant rate, and no average, curriculum, hooks or early stopping.
    """
    copied = copy.deepcopy(module)
    masks = [(getattr(part, name), getattr(part, name).detach() != 0) for part, name in prunable(copied)]
    short = replace(
        recipe,
        model=_There(module=copied),
        epochs=1,
        optimizer=replace(recipe.optimizer, lr=SLOWER * recipe.optimizer.lr),  # type: ignore[type-var]
        schedule=Constant(),
        average=None,
        dropout=None,
        curriculum=None,
        recompute=(),
        compile=None,
        stop=None,
        hooks=(),
    )

    def held(_: Run, batches: Iterator[Tensors]) -> Iterator[Tensors]:
        for batch in batches:
            yield batch
            _masked(masks)

    (epoch,) = fit(task, short, splits=splits, device=device, through=held)
    return epoch.run.module


@torch.no_grad()
def _masked(masks: list[tuple[Tensor, Tensor]]) -> None:
    """Put the zeros back after a step."""
    for weight, mask in masks:
        weight.mul_(mask.to(weight.device))


@dataclass(frozen=True, kw_only=True, slots=True)
class _There:
    """A module that is there already, where a recipe asks for a model."""

    module: nn.Module

    def build(self) -> nn.Module:
        """The module itself."""
        return self.module
