"""Parameter groups: which parameters are decayed, and which kernel steps them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

FUSED_ON = ("cpu", "cuda")
"""Kinds of device on which torch's fused Adam, AdamW and SGD run."""


def decayed(parameters: Iterable[nn.Parameter], *, weight_decay: float, decay_vectors: bool) -> list[dict[str, Any]]:
    """Groups for a torch optimizer: parameters of two and more dimensions with decay, then the vectors (biases, norms) without.

    One group holds all where that makes no difference: without decay, with ``decay_vectors``, and where there are vectors only or
    none. Decay shrinks a weight that the next layer's scale can make up for; a bias or a norm's gain has no such freedom.
    """
    parameters = list(parameters)
    if weight_decay == 0 or decay_vectors:
        return [{"params": parameters, "weight_decay": weight_decay}]
    matrices, vectors = parted(parameters)
    groups = [{"params": matrices, "weight_decay": weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]


def parted(parameters: Iterable[nn.Parameter]) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Parameters of two and more dimensions, and those of fewer; each in the order in which they came."""
    matrices: list[nn.Parameter] = []
    vectors: list[nn.Parameter] = []
    for parameter in parameters:
        (matrices if parameter.ndim >= 2 else vectors).append(parameter)
    return matrices, vectors


def fused(groups: Sequence[dict[str, Any]]) -> bool:
    """True when torch has one kernel for the whole step of these parameters: floating ones, on a CPU or an NVIDIA GPU.

    On a CPU those in half precision are left out: torch 2.13's fused SGD keeps a wrong momentum for them.
    """
    parameters = [parameter for group in groups for parameter in group["params"]]
    return all(
        parameter.is_floating_point()
        and parameter.device.type in FUSED_ON
        and (parameter.device.type != "cpu" or parameter.element_size() >= 4)
        for parameter in parameters
    )
