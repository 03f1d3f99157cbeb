"""Data as a run trains on it: divided as its recipe says, on the device, in the type that it computes in."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Any, Self
from weakref import WeakValueDictionary

from trainables.data.source import moved, resident
from trainables.task import Splits

if TYPE_CHECKING:
    import torch

    from trainables.recipe import Recipe

Prepare = Callable[[Splits[Any], "Recipe", "torch.device"], Splits[Any]]
"""What ``prepare`` does, whoever holds the result."""


def prepare(splits: Splits[Any], recipe: Recipe, device: torch.device) -> Splits[Any]:
    """The splits divided anew where the recipe asks for it, tensors on the device, floating ones in its precision's type.

    Sources stay where they are. Raises ConflictError where there are too few samples.
    """
    if recipe.split is not None:
        splits = recipe.split(splits, recipe.seeds.split)
    dtype = recipe.precision.dtype()

    def there(samples: Any) -> Any:
        return moved(samples, device, dtype) if resident(samples) else samples

    more = {name: there(samples) for name, samples in splits.more.items()}
    return Splits(train=there(splits.train), val=there(splits.val), test=there(splits.test), more=more)


class PreparedOnce:
    """Prepares data once for all runs of one task that draw and divide it alike, and holds it for as long as one of them does."""

    def __init__(self) -> None:
        self._held: WeakValueDictionary[Hashable, Splits[Any]] = WeakValueDictionary()

    def __reduce__(self) -> tuple[type[Self], tuple[()]]:
        """To another process it comes empty."""
        return type(self), ()

    def __call__(self, splits: Splits[Any], recipe: Recipe, device: torch.device) -> Splits[Any]:
        """As ``prepare`` does it; what one seed has drawn is taken to be the same each time."""
        key = (recipe.seeds.split, recipe.split, recipe.precision.dtype(), device)
        try:
            found = self._held.get(key)
        except TypeError:  # a split of one's own that has no hash
            return prepare(splits, recipe, device)
        if found is None:
            found = self._held[key] = prepare(splits, recipe, device)
        return found
