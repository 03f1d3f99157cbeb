"""The recipe of the level that leads, written beside the page, and the command that trains it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from sweeps.engine.spec import Sweep
from trainables.errors import ConflictError

if TYPE_CHECKING:
    from analysis.verdict import LevelResult, Verdict
    from trainables import Recipe
    from trainables.course import Segment
    from trainables.describe import Scalar

NAME = "winner.yaml"
"""The file in the sweep's folder."""


def conclude(sweep: Sweep, folder: Path, verdict: Verdict) -> list[str]:
    """Write the winner's recipe; what there is to say of it comes back: the command, or why there is no file."""
    from trainables import recipe_file

    level = leading(verdict)
    if level is None or verdict.spread is not None:  # levels that draw different things have one recipe, and none wins
        return []
    recipe, earlier = trained_by(sweep, level)
    try:
        recipe_file.write(folder / NAME, recipe, earlier=earlier, about=about(verdict, level, folder, earlier))
    except ConflictError as error:
        return [f"There is no {NAME}: {'; '.join(error.conflicts)}."]
    except OSError as error:
        return [f"There is no {NAME}: it cannot be written ({error.strerror})."]
    return [f"train the winner: {command(folder)}"]


def leading(verdict: Verdict) -> LevelResult | None:
    """The level that the verdict puts first, of those with a finished final; one with a diverged final only where all have."""
    there = [level for level in verdict.levels if level.n]
    return next((level for level in there if not level.diverged), there[0] if there else None)


def trained_by(sweep: Sweep, level: LevelResult) -> tuple[Recipe, list[Segment]]:
    """The recipe of a level's tuned point with the segments before it, for one process; its seeds are the next final's."""
    from trainables.course import Segment

    seeds = sweep.final_seeds(sweep.seeds + 1)
    workers = sweep.workers(level.point)

    def at(point: Mapping[str, Scalar]) -> Recipe:
        recipe = sweep.resolved(point, seeds)
        return replace(recipe, batch_size=recipe.effective_batch(workers))

    return at(level.point), [Segment(recipe=at(turn["point"]), until=turn["until"]) for turn in level.earlier]


def about(verdict: Verdict, level: LevelResult, folder: Path, earlier: Sequence[Segment] = ()) -> list[str]:
    """What the file says of itself."""
    others = [one.label for one in verdict.levels if one.n and one.rank_group == level.rank_group and one is not level]
    lines = [f"The recipe of {verdict.sweep} that leads: {level.label}, {score(verdict, level)}."]
    if others:
        which = _listed(others)
        lines.append(f"No level is distinguishably best: {which} cannot be told from it, and may do as well.")
    if earlier:
        lines.append(
            f"Its settings change after {turns(earlier)}: those under earlier come first, then those of recipe."
        )
    if level.diverged:
        lines.append(f"{level.diverged} of its {level.n + level.diverged} finals diverged.")
    lines += ["This trains it from scratch; --epochs, --from and --recipe change how:", f"  {command(folder)}"]
    return lines


def turns(earlier: Sequence[Segment]) -> str:
    """``epoch 3``, ``epochs 3, 6 and 9``: after which a recipe's settings change."""
    *first, last = [str(one.until) for one in earlier]
    return f"epochs {', '.join(first)} and {last}" if first else f"epoch {last}"


def score(verdict: Verdict, level: LevelResult) -> str:
    """``97.4 % test accuracy [95.8, 98.6] over 8 seeds``."""
    from analysis import units

    metric, spread = verdict.goal.metric, units.half_width(level.interval)
    ends = units.interval(level.interval, lambda x: units.number(x, metric, spread=spread))
    value = f"{units.value(level.mean, metric, spread=spread)} test {units.name(metric)}"
    return f"{value}{f' {ends}' if ends else ''} over {level.n} seed{'' if level.n == 1 else 's'}"


def command(folder: Path) -> str:
    """How the winner is trained."""
    return shlex.join(["python", "-m", "sweeps.winner", str(folder)])


def _listed(names: Sequence[str]) -> str:
    if len(names) > 3:
        return f"{len(names)} others"
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
