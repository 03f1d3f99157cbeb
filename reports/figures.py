"""Which charts a sweep's page holds, with the words that go with them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from analysis.importance import importances
from analysis.ledger import Question
from analysis.records import Stage, Status, TrialRecord
from analysis.target import apart
from reports import importance_chart
from reports.curve_chart import mean_curves
from reports.curves import BAND, coincident, curve_points, window
from reports.figure import Figure, figure
from reports.heat_chart import single_curves
from reports.labels import Labels
from reports.palette import swatch
from reports.parallel import parallel
from reports.rate_chart import rate_curves, rates, reach
from reports.reduce import POINTS, RANDOM, TOP, chosen, score
from reports.search_chart import scatter
from reports.space import holes, main_hole


def learning(question: Question, records: Sequence[TrialRecord], labels: Labels) -> list[Figure]:
    """The finals' learning curves, by epoch and, where the clock is known, by seconds."""
    goal = question.goal
    finals = labels.grouped([r for r in records if r.stage is Stage.FINAL and r.status is not Status.RUNNING])
    points = curve_points(finals, f"val/{goal.metric}")
    if not points:
        return []
    low, high = window(points, goal.mode, goal.target)
    cut = any(not low <= point.mean <= high for point in points)
    band = f"{BAND[0]:.0%} to {BAND[1]:.0%}".replace("%", " %")
    caption = f"Validation {goal.metric} of the finals: the mean over seeds, and the band from {band} of them."
    if any(record.status is Status.DIVERGED for group in finals.values() for record in group):
        caption += " A final that diverged counts for as long as it had a value."
    if cut:
        caption += " The steep beginning lies outside the window."
    if max(point.epoch for point in points) > POINTS:
        caption += f" {POINTS} epochs of each curve are drawn."
    caption += "".join(f" {_listed(same)} coincide." for same in coincident(points))
    described = f"Line chart of validation {goal.metric} by epoch for {_listed(list(finals))}."
    legend = _legend(labels, list(finals))
    drawn = [
        figure(
            name="curves-epoch",
            title="By epoch",
            caption=caption,
            described=described,
            legend=legend,
            build=mean_curves(points, goal, labels.order, by="epoch"),
        )
    ]
    if any(point.seconds is not None for point in points):
        timed = {point.level for point in points if point.seconds is not None}
        words = (
            "The same over training time, each point at the median of the seconds that the level's finals took to it"
        )
        words += ", those that were trained alone." if apart(finals.values()) is not None else "."
        if untimed := [label for label in finals if label not in timed]:
            words += f" No seconds are known for {_listed(untimed)}."
        drawn.append(
            figure(
                name="curves-seconds",
                title="By training time",
                caption=words,
                described=described.replace("by epoch", "by training seconds"),
                legend=legend,
                build=mean_curves(points, goal, labels.order, by="seconds"),
            )
        )
    return drawn + _schedules(question, finals, labels)


def _schedules(question: Question, finals: Mapping[str, Sequence[TrialRecord]], labels: Labels) -> list[Figure]:
    """The learning rate by epoch where schedules are compared."""
    rows = rates(finals)
    if not rows or not any(path.split(".")[0] == "schedule" for path in question.factors):
        return []
    caption = "The learning rate at the end of each epoch, each schedule at the peak that was found for it."
    if min(row["lr"] for row in rows) < reach(rows)[0]:
        caption += " What falls below a thousandth of the highest is drawn there."
    return [
        figure(
            name="rates",
            title="The schedules",
            caption=caption,
            described=f"Line chart of the learning rate by epoch for {_listed(list(finals))}.",
            legend=_legend(labels, list(finals)),
            build=rate_curves(rows, labels.order),
        )
    ]


def search(question: Question, records: Sequence[TrialRecord], labels: Labels) -> list[Figure]:
    """What the heats tried: the main hole against the score, their curves, and parallel coordinates."""
    goal = question.goal
    heats = [r for r in records if r.stage is Stage.HEAT and r.status is not Status.RUNNING]
    groups = labels.grouped(heats)
    legend = _legend(labels, list(groups))
    scored = [record for record in heats if score(record, goal) is not None]
    found = holes(question, heats)
    drawn = []
    hole = main_hole(found)
    if hole is not None and scored:
        stopped = {record.until is None for record in scored if record.status is Status.STOPPED}
        drawn.append(
            figure(
                name="search",
                title=f"What {hole.path.split('.')[-1]} does",
                caption=f"A dot for each heat: {hole.path} against its best validation {goal.metric}."
                f"{_hollow(stopped)} Far worse heats lie on the edge.",
                described=f"Scatter chart of {len(scored)} heats: {hole.path} against best validation {goal.metric}.",
                legend=legend,
                build=scatter(groups, goal, hole, labels.order),
            )
        )
    mattered = importances(question, records)
    if mattered is not None:
        drawn.append(importance_chart.chart(mattered))
    if scored:
        some = chosen(heats, goal)
        left_out = len(heats) - len(some)
        caption = f"A line for each heat: validation {goal.metric} by epoch."
        if left_out:
            caption += f" Drawn are the best {TOP} and {RANDOM} of the others at random; {left_out} are left out."
        drawn.append(
            figure(
                name="heats",
                title="The heats' curves",
                caption=caption,
                described=f"Line chart of validation {goal.metric} by epoch for {len(some)} of {len(heats)} heats.",
                legend=legend,
                build=single_curves(labels.grouped(some), goal, labels.order),
            )
        )
    if len(found) >= 2 and scored:
        some = chosen(scored, goal)
        left_out = len(scored) - len(some)
        caption = "A line for each heat through all that was searched; the best fifth stands out."
        if left_out:
            caption += f" Drawn are the best {TOP} and {RANDOM} of the others at random; {left_out} are left out."
        drawn.append(
            figure(
                name="parallel",
                title="All that was searched",
                caption=caption,
                described=f"Parallel coordinates of {len(some)} heats over {_listed([h.path for h in found])}.",
                legend=[],
                build=parallel(labels.grouped(some), goal, found),
            )
        )
    return drawn


def _legend(labels: Labels, shown: Sequence[str]) -> list[tuple[str, str]]:
    if len(shown) < 2:
        return []
    return [(label, swatch(labels.place(label))) for label in shown]


def _hollow(stopped: set[bool]) -> str:
    """What hollow dots mean: heats that were cut, segments of a population that end before the run does, or both."""
    kinds = {True: "the heat was stopped early", False: "it is a segment that ends before the run does"}
    return f" Hollow where {' or '.join(words for cut, words in kinds.items() if cut in stopped)}." if stopped else ""


def _listed(names: Sequence[str]) -> str:
    if len(names) < 2:
        return "".join(names)
    # Labels of several factors hold commas of their own.
    comma = "; " if any(", " in name for name in names) else ", "
    return f"{comma.join(names[:-1])}{comma if comma == '; ' else ' '}and {names[-1]}"
