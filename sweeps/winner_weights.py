"""A model that begins from weights that were learned before."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from trainables.recipe import Adaptable, Model, Part

if TYPE_CHECKING:
    from torch import nn

    from trainables.task import Shape


@dataclass(frozen=True, kw_only=True, slots=True)
class Begun:
    """``model`` with the ``weights`` of a file (``best.safetensors``) in place of those that it draws."""

    model: Model
    weights: Path

    def adapted(self, shape: Shape) -> Begun:
        """The same, its model's sizes filled in."""
        return replace(self, model=self.model.adapted(shape)) if isinstance(self.model, Adaptable) else self

    def build(self) -> nn.Module:
        """The module with these weights. Raises ValueError, naming the file, where they are damaged or do not fit."""
        from trainables.ensemble import with_weights

        return with_weights(self.model.build(), self.weights, "cpu")

    def conflicts(self) -> Iterator[str]:
        """What is wrong with the model's settings."""
        if isinstance(self.model, Part):
            yield from self.model.conflicts()
