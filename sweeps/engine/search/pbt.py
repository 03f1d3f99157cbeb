"""Population-based training."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import ClassVar

from sweeps.engine import space
from sweeps.engine.search.domain import Domain
from sweeps.engine.search.search import few_trials
from sweeps.engine.search.unit import from_unit
from trainables import RMSprop
from trainables.describe import Scalar

CHANGEABLE = ("optimizer", "schedule", "scaling", "loss", "clip", "noise", "dropout", "augment")
"""The recipe's fields whose settings may change in mid-run: steps count as before, weights fit, ``_bound`` excepted."""

LESS, MORE = 0.8, 1.25
"""What a number is multiplied by when it is explored: a fifth less, and as much more in the logarithm."""

SHIFT = 0.1
"""How far a number moves whose range is even, as a share of the range."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PBT:
    """Population-based training (Jaderberg et al., 2017): settings that change in mid-run, bred while the runs go on.

    ``trials`` members train side by side, ``segments`` times as many epochs each. After a segment the worst ``quantile`` of them go
    on from the weights and settings of one of the best, each setting explored: drawn anew with probability ``resample``, else a
    little less or more. Members wait for each other, so that all are judged at the same epoch and a sweep gives the same whatever
    is done first. It costs as many epochs as ``trials`` whole runs; a segment is a heat of its own in the ledger, with the one it
    goes on from. To the finals goes the best member's course: all its settings, each for its epochs.

    Holes may stand in what a run can change: optimizer, schedule, scaling, loss, clip, noise, dropout, augment.
    """

    trials: int = 8
    segments: int = 5
    quantile: float = 0.25
    resample: float = 0.25

    learns: ClassVar[bool] = True

    def ends(self, epochs: int) -> list[int]:
        """The last epoch of every segment of a run of so many epochs; fewer segments where there are fewer epochs."""
        count = min(self.segments, epochs)
        return [round(epochs * (number + 1) / count) for number in range(count)]

    def heats(self, domain: Domain, known: Sequence[Mapping[str, Scalar]]) -> int:  # noqa: ARG002
        """Every segment of every member."""
        return self.trials * len(self.ends(domain.recipe.epochs))

    @property
    def taken_over(self) -> int:
        """How many members go on from another one after a segment."""
        return max(1, int(self.trials * self.quantile))

    def begun(self, domain: Domain, rng: Random) -> dict[str, Scalar]:
        """The point that a member begins with."""
        return domain.point(lambda _, hole: from_unit(hole, rng.random()))

    def explored(self, domain: Domain, point: Mapping[str, Scalar], rng: Random) -> dict[str, Scalar]:
        """A point near another one; the same where what was drawn cannot be trained. Options have no neighbours to move to."""
        before = domain.parameters(point)

        def choose(parameter: str, hole: space.Hole) -> Scalar:
            if parameter not in before or rng.random() < self.resample:
                return from_unit(hole, rng.random())
            return _moved(hole, before[parameter], more=rng.random() < 0.5)

        near = domain.point(choose)
        return dict(point) if any(space.resolve(domain.recipe, lambda path, _: near[path]).conflicts()) else near

    def conflicts(self, domain: Domain) -> Iterator[str]:
        """What is wrong with the settings, or with changing these holes in mid-run."""
        yield from few_trials("PBT", self.trials)
        if self.trials == 1:
            yield "PBT trials 1 has nobody to learn from; 8 members are a usual start, or take another search"
        if self.segments < 2:
            yield f"PBT segments {self.segments} must be at least 2: settings change between segments; 5 is usual"
        elif domain.recipe.epochs < 2:
            yield "PBT needs at least 2 epochs: settings change between them"
        if not 0 < self.quantile <= 0.5:
            yield f"PBT quantile {self.quantile:g} must be above 0 and at most 0.5: the worst learn from the best; 0.25 is usual"
        if not 0 <= self.resample <= 1:
            yield f"PBT resample {self.resample:g} must lie between 0 and 1; 0.25 is usual"
        if len(domain.goals) > 1:
            yield "PBT breeds for one goal; take also out, or take TPE"
        if domain.recipe.stop is not None:
            yield "PBT trains every member to its end; take stop out of the recipe, or take another search"
        yield from _fixed(domain)


def _fixed(domain: Domain) -> Iterator[str]:
    """The holes that no run can change on its way."""
    for path, hole in space.holes(domain.recipe):
        if path.split(".")[0] not in CHANGEABLE:
            yield (
                f"PBT changes settings in mid-run, which {path} does not allow (it may be {', '.join(CHANGEABLE)}); "
                "fix it, compare it by each(), or take another search"
            )
        elif reason := _bound(domain, path, hole):
            yield f"PBT changes settings in mid-run, and {reason}; compare them by each()"


def _bound(domain: Domain, path: str, hole: space.Hole) -> str | None:
    """Why the state of a run holds to one value of this setting; None where it does not."""
    options = getattr(hole, "options", ())
    if path == "optimizer" and len({type(option) for option in options}) > 1:
        return "one kind of optimizer cannot take over another's state"
    if path == "loss" and len(options) > 1:
        return "losses may differ in how many outputs they ask of the model"
    if path == "loss.class_weights":
        return f"{path} says how many outputs the model has"
    if path == "optimizer.centered" or (path == "optimizer.momentum" and isinstance(domain.recipe.optimizer, RMSprop)):
        return f"what RMSprop keeps depends on {path}"
    return None


def _moved(hole: space.Hole, value: Scalar, *, more: bool) -> Scalar:
    """A value a little above or below, within its range."""
    match hole:
        case space.Uniform(low, high, log):
            number = float(value)  # type: ignore[arg-type]
            return min(max(_stepped(number, high - low, log=log, more=more), low), high)
        case space.IntRange(low, high, log):
            whole = int(value)  # type: ignore[arg-type]
            moved = _stepped(whole, high - low, log=log, more=more)
            return min(max(math.ceil(moved) if more else math.floor(moved), low), high)
        case _:
            return value


def _stepped(value: float, width: float, *, log: bool, more: bool) -> float:
    if log:
        return value * (MORE if more else LESS)
    return value + (SHIFT if more else -SHIFT) * width
