"""How large a model is."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trainables.recipe import Model
    from trainables.task import Shape


def parameters(model: Model, shape: Shape | None = None) -> int:
    """The number of values that training changes, for data of this shape.

    The module is built without storage, so that a large one costs neither memory nor time, and nothing is drawn. ``shape`` None is
    for a model that names its sizes itself; raises ValueError where they are missing.
    """
    import torch

    from trainables.recipe import Adaptable

    fitted = model.adapted(shape) if shape is not None and isinstance(model, Adaptable) else model
    with torch.device("meta"):
        module = fitted.build()
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)
