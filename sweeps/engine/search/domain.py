"""What a search draws from: the searched holes of one level."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from sweeps.engine import space
from trainables.describe import Scalar

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.trial import Trial

    from trainables import Recipe

Choose = Callable[[str, space.Hole], Scalar]
"""Asked, under Optuna's name for it, what fills a hole."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Domain:
    """The recipe of one level, its compared holes filled and its searched ones open; ``goals`` are their modes, one or two.

    Optuna knows a hole as ``path in range``, since options of one choice may each have a hole at the same place, with another
    range.
    """

    recipe: Recipe
    level: Mapping[str, Scalar]
    goals: tuple[str, ...] = ("max",)

    @classmethod
    def of(cls, recipe: Recipe, level: Mapping[str, Scalar], goals: tuple[str, ...] = ("max",)) -> Self:
        """The domain of a level; compared holes may still be open in the recipe."""
        return cls(recipe=space.settled(recipe, level), level=level, goals=goals)

    def point(self, choose: Choose) -> dict[str, Scalar]:
        """A point, the level's own values included; only holes that are there for the options taken are asked for."""
        point = dict(self.level)

        def filler(path: str, hole: space.Hole) -> Scalar:
            point[path] = choose(_parameter(path, hole), hole)
            return point[path]

        space.resolve(self.recipe, filler)
        return point

    def parameters(self, point: Mapping[str, Scalar]) -> dict[str, Scalar]:
        """The values of a point by Optuna's names."""
        return {parameter: value for parameter, _, value in self._walk(point)}

    def distributions(self, point: Mapping[str, Scalar]) -> dict[str, BaseDistribution]:
        """What each value of a point was drawn from, by Optuna's names."""
        return {parameter: _distribution(hole) for parameter, hole, _ in self._walk(point)}

    def holes(self) -> dict[str, space.Hole]:
        """Every searched hole by Optuna's name, those inside options too, in the order of the recipe's fields."""
        return {_parameter(path, hole): hole for path, hole in space.holes(self.recipe)}

    def conditional(self) -> list[str]:
        """The paths of holes that are there for some options alone."""
        return sorted(
            {
                path
                for place, hole in space.holes(self.recipe)
                if isinstance(hole, space.Choice)
                for option in hole.options
                for path, _ in space.holes(option, place)
            }
        )

    def _walk(self, point: Mapping[str, Scalar]) -> list[tuple[str, space.Hole, Scalar]]:
        """The searched holes that this point fills, with Optuna's names for them."""
        found: list[tuple[str, space.Hole, Scalar]] = []

        def filler(path: str, hole: space.Hole) -> Scalar:
            found.append((_parameter(path, hole), hole, point[path]))
            return point[path]

        space.resolve(self.recipe, filler)
        return found


def suggested(trial: Trial, parameter: str, hole: space.Hole) -> Scalar:
    """What the sampler of this Optuna trial takes for a hole."""
    match hole:
        case space.Choice(options):
            chosen: Scalar = trial.suggest_categorical(parameter, [space.name(option) for option in options])
            return chosen
        case space.Uniform(low, high, log):
            return trial.suggest_float(parameter, low, high, log=log)
        case space.IntRange(low, high, log):
            return trial.suggest_int(parameter, low, high, log=log)
        case space.Each():
            raise TypeError(f"{parameter} is a compared factor, which is not searched")


def _parameter(path: str, hole: space.Hole) -> str:
    return f"{path} in {space.describe(hole)}"


def _distribution(hole: space.Hole) -> BaseDistribution:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    match hole:
        case space.Choice(options):
            return CategoricalDistribution([space.name(option) for option in options])
        case space.Uniform(low, high, log):
            return FloatDistribution(low, high, log=log)
        case space.IntRange(low, high, log):
            return IntDistribution(low, high, log=log)
        case space.Each():
            raise TypeError("a compared factor is not searched")
