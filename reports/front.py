"""The page's section on two goals: what the heats reached in both, and which of them none beats."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from analysis import units
from analysis.front import Attempt, attempts, second_goal, within, written
from analysis.ledger import Goal, Question
from analysis.records import Stage, Status, TrialRecord
from reports.figure import Figure, figure
from reports.front_chart import two_goals
from reports.labels import Labels
from reports.palette import swatch
from reports.space import brief

FOLDED = 12
"""A table of more points than this starts folded."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FrontRow:
    """One point of a front as words; ``first`` begins a level, ``point`` holds (short name, path, value)."""

    first: bool
    label: str
    swatch: str
    value: str
    second: str
    point: Sequence[tuple[str, str, str]]
    remark: str


@dataclass(frozen=True, kw_only=True, slots=True)
class FrontSection:
    """The section: its heading, the chart, and the fronts as a table with the names of its two columns of values."""

    title: str
    chart: Figure
    columns: tuple[str, str]
    rows: Sequence[FrontRow]
    folded: bool


def section(question: Question, records: Sequence[TrialRecord], labels: Labels) -> FrontSection | None:
    """The section of a sweep whose search has a second goal and at least one heat with a value in both; None for any other."""
    second, found = second_goal(question), attempts(question, records)
    if second is None or not found:
        return None
    goal, name = question.goal, units.name(second.metric)
    levels = list(dict.fromkeys(labels.label(one.level) for one in found))
    fronts = [one for one in found if one.on_front]
    chart = figure(
        name="front",
        title=f"Validation {units.name(goal.metric)} against {name}",
        caption=" ".join(_caption(question, second, found, records)),
        described=f"Scatter chart of {len(found)} heats: {name} against validation {goal.metric}; {len(fronts)} are on a front.",
        legend=[(label, swatch(labels.place(label))) for label in levels] if len(levels) > 1 else [],
        build=two_goals(found, goal, second, labels),
    )
    before = [None, *(labels.label(one.level) for one in fronts)]
    rows = [_row(one, goal, second, labels, last) for one, last in zip(fronts, before, strict=False)]
    return FrontSection(
        title="Two goals",
        chart=chart,
        columns=(f"Validation {units.name(goal.metric)}", name[:1].upper() + name[1:]),
        rows=rows,
        folded=len(rows) > FOLDED,
    )


def named(question: Question) -> tuple[str, str] | None:
    """The second goal in a word or two, and how it takes part in the choice; None where there is none."""
    second = second_goal(question)
    if second is None:
        return None
    short = f"{'highest' if second.mode == 'max' else 'lowest'} {units.name(second.metric)}"
    return short, f"{short}, {_reach(question)}"


def _reach(question: Question) -> str:
    """Among which heats the second goal chooses."""
    reach, metric = within(question), question.goal.metric
    if not reach:
        return f"where heats tie in validation {units.name(metric)}"
    return f"among the heats at most {_gap(reach, metric)} worse than the best in validation {units.name(metric)}"


def _gap(x: float, metric: str) -> str:
    """A difference that somebody set: all its digits."""
    if not units.is_share(metric):
        return units.target(x, metric)
    points = units.target(x, metric).removesuffix(" %")
    return f"{points} point{'' if points == '1' else 's'}"


def _caption(question: Question, second: Goal, found: Sequence[Attempt], records: Sequence[TrialRecord]) -> list[str]:
    on_front = sum(one.on_front for one in found)
    feasible = sum(one.feasible for one in found)
    own = "" if len(question.levels) == 1 else " of its level"
    said = [
        "A dot for each heat that ran to its end. Full and joined: the front, "
        f"{on_front} heat{'' if on_front == 1 else 's'} that no other{own} beats in both goals."
    ]
    if pale := len(found) - on_front:
        said.append(f"Pale: dominated, {pale} that another{own} beats or equals in both.")
    who = "the one that went" if sum(one.chosen for one in found) < 2 else "those that went"
    if any(one.chosen for one in found):
        said.append(
            f"Ringed: {who} to the finals, {'best' if second.mode == 'max' else 'lowest'} in {units.name(second.metric)}"
            f" {_reach(question)}; {feasible} {'is' if feasible == 1 else 'are'} that close."
        )
    heats = [record for record in records if record.stage is Stage.HEAT]
    if stopped := sum(record.status is Status.STOPPED for record in heats):
        said.append(f"Left out: {stopped} stopped early, which are cheap because they were stopped.")
    if unknown := sum(record.status is Status.COMPLETED for record in heats) - len(found):
        said.append(f"Of {unknown} more a value is not known.")
    return said


def _row(one: Attempt, goal: Goal, second: Goal, labels: Labels, last: str | None) -> FrontRow:
    label = labels.label(one.level)
    remark = "went to the finals" if one.chosen else "" if one.feasible else "too far from the best"
    return FrontRow(
        first=label != last,
        label=label,
        swatch=swatch(labels.place(label)),
        value=units.value(one.value, goal.metric),
        second=written(one.second, second),
        point=[(units.name(path), path, brief(value)) for path, value in one.point.items() if path not in one.level],
        remark=remark,
    )
