"""BatchNorm's statistics, measured anew."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor, nn


def refresh(module: nn.Module, batches: Callable[[], Iterator[tuple[Tensor, ...]]]) -> None:
    """Set the statistics of all BatchNorm layers to their means over ``batches()``, each an input (tensors [B, ...]), in place.

    Every batch counts alike, as in ``torch.optim.swa_utils.update_bn``. The other layers are as in evaluation, so that the
    statistics fit what will come to them, and dropout draws nothing. A single sample after larger batches is left out: it may hold
    too little to have a variance. A module without such layers asks for no batch. All modes are put back.
    """
    import torch
    from torch.nn.modules.batchnorm import _BatchNorm

    layers = [part for part in module.modules() if isinstance(part, _BatchNorm) and part.track_running_stats]
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
