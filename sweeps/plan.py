"""The plan of a sweep, as it is shown before anything is started."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sweeps.engine import question
from sweeps.engine.capacity import count
from sweeps.engine.estimate import estimate, heat_epochs
from sweeps.engine.lanes.choice import MEANINGS, lane_of
from sweeps.engine.pack_worth import hopeful
from sweeps.engine.packing import all_alone, why_alone
from sweeps.engine.pools import Pools
from sweeps.engine.room import Room
from sweeps.engine.spec import Sweep

if TYPE_CHECKING:
    from analysis.records import TrialRecord


def show(
    sweep: Sweep, folder: Path, known: Sequence[TrialRecord], room: Room | None, *, asked: int | None = None
) -> None:
    """What will be run, where, and about how long; what is there already is said, and that it is more than was ``asked``.

    ``room`` is None where nothing is left to run.
    """
    from analysis import units
    from reports import console

    goal, room = sweep.task.goal, room or Room()
    packed = lane_of(sweep) == "fused" and not all_alone(sweep)
    left = estimate(sweep, known, concurrency=room.at_once, packed=packed)
    reach = f", {units.target(goal.target, goal.metric)} counts as reached" if goal.target is not None else ""
    console.plan(
        sweep=f"{sweep.name} in {folder}",
        task=sweep.task.name,
        goal=f"{'highest' if goal.mode == 'max' else 'lowest'} {goal.metric}{reach}",
        levels=labels(sweep),
        heats=[sweep.heats(level) for level in sweep.levels()],
        heat_epochs=max(heat_epochs(sweep, level) for level in sweep.levels()),
        seeds=sweep.seeds,
        epochs=sweep.recipe.epochs,
        lane=lane(sweep, at_once=room.at_once),
        room=room.said,
        budget=budget(sweep),
        look=look(sweep, folder) if known else "",
        concurrency=room.at_once,
        seconds=left.seconds,
        measured=left.measured,
        differences=[(entry["path"], entry["value"]) for entry in question.differences(sweep)],
        done=sum(record.status.settled for record in known),
        kept=f"finals of {sweep.seeds} seeds count, not of {asked}: what was run stays; --fresh begins anew"
        if asked is not None and asked < sweep.seeds
        else "",
    )


def labels(sweep: Sweep) -> list[str]:
    """The levels as tables name them."""
    from analysis import units

    return [units.level(level, sweep.name) for level in sweep.levels()]


TRIED = "auto: packs of trials are tried first; where they are worth it, trials are trained so, else each alone"
"""What is said of a lane that is open yet."""


def lane(sweep: Sweep, *, at_once: int) -> str:
    """The lane, its meaning and the workers of a trial; nothing for one worker where each is trained alone in any case."""
    name = lane_of(sweep)
    fewest = min(sweep.workers(level) for level in sweep.levels())
    most = sweep.most_workers
    if name == "solo":
        return (
            TRIED if sweep.lane == "auto" and not why_alone(sweep) and hopeful(Pools.of(sweep, at_once=at_once)) else ""
        )
    if name == "local":
        return f"{name}: {MEANINGS[name]}"
    if name == "fused":
        alone = why_alone(sweep)
        why = f"; alone are those with {'; '.join(alone)}" if alone else ""
        return f"{name}: {MEANINGS[name]}{why}"
    workers = count(most, "worker") if fewest == most else f"{fewest} to {most} workers"
    return f"{name}, {workers} a trial: {MEANINGS[name]}"


def look(sweep: Sweep, folder: Path) -> str:
    """What more seeds cost where an answer has been seen: the chance of an error is shared out over all looks; else nothing."""
    from analysis.looks import CONFIDENCE, occasion

    verdict = folder / "verdict.json"
    looks = question.looks(sweep, question.read(folder) or {}, answered=verdict.exists())["looks"]
    seen = _taken(verdict)
    if not seen or max(seen) >= sweep.seeds:
        return ""
    now = occasion(looks, done=sweep.seeds, alpha=1 - CONFIDENCE)
    return (
        f"number {len(seen) + 1}: an answer from {max(seen)} seeds was seen, so what is told apart now must be so at "
        f"{100 * (1 - now.alpha):.3g} %, not at {100 * CONFIDENCE:g} %"
    )


def _taken(verdict: Path) -> list[int]:
    """The seeds of the looks that a verdict has taken; none where it is not there, or is no verdict."""
    try:
        looks = json.loads(verdict.read_text(encoding="utf-8"))["looks"]
        return [look["seeds"] for look in looks if look["taken"]]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def budget(sweep: Sweep) -> str:
    """The budget as it was understood; nothing where there is none."""
    from analysis import units

    if sweep.budget_seconds is None:
        return ""
    return f"{units.seconds(sweep.budget_seconds)} of wall time; the searches end in time for the finals, which are all run"
