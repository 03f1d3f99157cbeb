"""A run whose settings change on the way."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainables.batches import unchanged
from trainables.recipe import Recipe
from trainables.validation.also_at import AlsoAt

if TYPE_CHECKING:
    import torch

    from trainables.batches import Through
    from trainables.fit import Epoch
    from trainables.task import Splits, Task
    from trainables.world import World


@dataclass(frozen=True, kw_only=True, slots=True)
class Segment:
    """The epochs of a run up to ``until``, counted from the run's first, trained by ``recipe``."""

    recipe: Recipe
    until: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Course:
    """How a run comes to its recipe, and where it leaves off: a segment of a population's training, or the whole of it again.

    ``earlier`` are the segments before the recipe takes over. ``begin`` is the folder of another run that has trained them;
    where it holds no state they are trained anew, which gives the same. ``until`` is the last epoch, the recipe's own when None.
    Recipes of one course may differ in what is no part of the state: the optimizer's settings, but not its kind; schedule, loss,
    clip.
    """

    earlier: Sequence[Segment] = ()
    begin: Path | None = None
    until: int | None = None

    def segments(self, recipe: Recipe) -> list[Segment]:
        """All segments, the recipe's own last."""
        return [*self.earlier, Segment(recipe=recipe, until=self.last(recipe))]

    def last(self, recipe: Recipe) -> int:
        """The last epoch."""
        return recipe.epochs if self.until is None else self.until


WHOLE = Course()
"""A run by one recipe, from its first epoch to its last."""


def followed(
    task: Task,
    segments: Sequence[Segment],
    *,
    splits: Splits[Any] | None,
    device: str | torch.device,
    state: Mapping[str, Any] | None,
    world: World,
    through: Through = unchanged,
    tested: bool = True,
) -> Generator[Epoch]:
    """The epochs of all segments as one run; each takes over the state that the one before has left, settings excepted.

    Each ends with a full pass of validation, whatever its recipe says of that: it is judged there.
    """
    from trainables.fit import fit

    for segment in segments:
        if state is not None and state["epoch"] >= segment.until:
            continue
        recipe = segment.recipe
        if segment.until < recipe.epochs:
            recipe = replace(recipe, validation=AlsoAt(policy=recipe.validation, epoch=segment.until))
        epochs = fit(
            task, recipe, splits=splits, device=device, state=state, world=world, through=through, tested=tested
        )
        for epoch in epochs:
            yield epoch
            if epoch.epoch == segment.until:
                state = epoch.run.state()
                break
