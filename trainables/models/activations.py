"""Activations: by name, or as a part that builds one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal, get_args

from trainables.models.settings import named
from trainables.recipe import Model

if TYPE_CHECKING:
    from torch import nn

Name = Literal["relu", "gelu", "silu", "elu", "tanh"]
"""ReLU; GELU (Hendrycks and Gimpel, 2016); SiLU, also called swish; ELU (Clevert et al., 2016); tanh."""

Activation = Name | Model
"""A name, or a part whose ``build()`` gives a module that keeps the shape, new for each place it is used in."""


def activation(setting: Activation) -> nn.Module:
    """A new module. Raises ValueError for a name that is not known."""
    from torch import nn

    match setting:
        case "relu":
            return nn.ReLU()
        case "gelu":
            return nn.GELU()
        case "silu":
            return nn.SiLU()
        case "elu":
            return nn.ELU()
        case "tanh":
            return nn.Tanh()
        case str():
            raise ValueError(next(unknown("activation", setting)))
    return setting.build()


def unknown(owner: str, setting: object) -> Iterator[str]:
    """A conflict where it is neither a known name nor a part that builds a module."""
    if isinstance(setting, str) or not isinstance(setting, Model):
        yield from named(owner, "activation", setting, get_args(Name))
