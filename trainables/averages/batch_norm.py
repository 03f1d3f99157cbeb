"""BatchNorm's statistics, measured anew."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.nn.modules.batchnorm import _BatchNorm


def learning(average: nn.Module, source: nn.Module) -> list[_BatchNorm]:
    """The BatchNorm layers of ``average`` whose like in ``source`` is in training mode and keeps statistics: not frozen ones."""
    from torch.nn.modules.batchnorm import _BatchNorm

    alike = zip(average.modules(), source.modules(), strict=True)
    return [mine for mine, its in alike if isinstance(mine, _BatchNorm) and mine.track_running_stats and its.training]


def refresh(
    module: nn.Module, layers: Sequence[_BatchNorm], batches: Callable[[], Iterator[tuple[Tensor, ...]]]
) -> None:
    """Set these layers' statistics to their means over ``batches()``, each an input of ``module`` (tensors [B, ...]), in place.

    Every batch counts alike, as in ``torch.optim.swa_utils.update_bn``. The other layers are as in evaluation, so that the
    statistics fit what will come to them, and dropout draws nothing. A single sample after larger batches is left out: it may hold
    too little to have a variance. Without layers no batch is asked for. All modes are put back.
    """
    import torch

    if not layers:
        return
    modes = {part: part.training for part in module.modules()}
    momenta = [layer.momentum for layer in layers]
    module.eval()
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # a plain mean over the batches
        layer.train()
    try:
        with torch.no_grad():
            largest = 0
            for inputs in batches():
                if len(inputs[0]) > 1 or largest < 2:
                    module(*inputs)
                largest = max(largest, len(inputs[0]))
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
        for part, training in modes.items():
            part.training = training
