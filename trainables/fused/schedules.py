"""The learning rates of all members."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trainables.run import Run


class Schedules:
    """Sets the learning rate of each run's next step, as ``Run.schedule`` does, asking each curve once for all that are alike.

    It is for one epoch, in which the runs' curves stay the same and they take their steps together. Rates that stay what they are
    are written ``anew`` for optimizers that may write them too.
    """

    def __init__(self, runs: Sequence[Run], *, anew: bool = False) -> None:
        self._anew = anew
        found: dict[Hashable, list[tuple[Run, float, list[dict[str, Any]]]]] = {}
        for run in runs:
            scaling = run.recipe.scaling
            peak = run.recipe.optimizer.lr * (scaling(run.plan.batch_size) if scaling is not None else 1.0)
            alike = (_hashable(run.curve), run.step, run.plan.steps)
            found.setdefault(alike, []).append((run, peak, run.optimizer.param_groups))
        self._alike = list(found.values())
        self._factors: list[float | None] = [None] * len(self._alike)

    def step(self) -> None:
        """Write the rates of the step that comes next."""
        for number, members in enumerate(self._alike):
            first = members[0][0]
            factor = first.curve(first.plan.progress(first.step))
            if factor == self._factors[number] and not self._anew:
                continue
            self._factors[number] = factor
            for run, peak, groups in members:
                run.lr = peak * factor
                for group in groups:
                    group["lr"] = run.lr


def _hashable(curve: object) -> Hashable:
    """The curve, or its identity where it cannot be compared."""
    try:
        hash(curve)
    except TypeError:
        return id(curve)
    return curve
