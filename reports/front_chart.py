"""The chart of two goals: a dot for each heat, and each level's front as a staircase."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from analysis import units
from analysis.front import Attempt, written
from analysis.ledger import Goal
from reports import theme
from reports.curve_chart import HEIGHT
from reports.figure import Build
from reports.labels import Labels
from reports.palette import INK
from reports.search_chart import extent, seen
from reports.theme import colour, opacity, specification, table

if TYPE_CHECKING:
    import altair as alt

LOGARITHMIC = 30.0
"""From this ratio of the largest to the smallest on, the axis of the second goal is logarithmic."""


def two_goals(found: Sequence[Attempt], goal: Goal, second: Goal, labels: Labels) -> Build:
    """Each heat's value in both goals: those on a front full and joined, the others pale, those that were chosen ringed.

    Between two points of a front lies a step: at a cost in between nothing better than the cheaper one was found.
    """
    rows = [_row(one, goal, second, labels) for one in found]
    domain = seen([one.value for one in found], goal.mode)
    margin = 0.03 * (max(domain[1], *_fronts(found)) - min(domain[0], *_fronts(found)))
    domain = (
        min(domain[0], *(x - margin for x in _fronts(found))),
        max(domain[1], *(x + margin for x in _fronts(found))),
    )
    seconds = [one.second for one in found]
    log = min(seconds) > 0 and max(seconds) > LOGARITHMIC * min(seconds)

    def build(still: bool) -> dict[str, Any]:
        import altair as alt

        x, y = _second(second, extent(seconds), log), theme.score("y", goal, domain, clamp=True)
        base = table().encode(x=x, y=y, color=colour(labels.order))
        front, behind = (base.transform_filter(f"{'' if on else '!'}datum.front") for on in (True, False))
        steps = front.mark_line(interpolate="step-after" if second.mode == "min" else "step-before", strokeWidth=1.75)
        layers: list[Any] = [steps.encode(order="x:Q", opacity=opacity(0.8, 0.08))]
        layers.append(behind.mark_point(size=40, filled=True).encode(opacity=opacity(0.4, 0.05)))
        layers.append(front.mark_point(size=64, filled=True).encode(opacity=opacity(1.0, 0.1)))
        ring = table().transform_filter("datum.chosen").encode(x=x, y=y)
        ring = ring.mark_point(size=190, filled=False, strokeWidth=2, color=INK.light)
        layers.append(ring.encode(opacity=opacity(1.0, 0.1)))
        if not still:
            hover = base.mark_point(size=240, filled=True, opacity=0)
            layers.append(
                hover.encode(tooltip=[alt.Tooltip(f"{name}:N", title=title) for name, title in _told(second)])
            )
        return specification(layers, data={"rows": rows}, height=HEIGHT)

    return build


def _fronts(found: Sequence[Attempt]) -> list[float]:
    """What the fronts reach in the task's goal: a front is never cut off."""
    return [one.value for one in found if one.on_front]


def _second(second: Goal, ends: list[float], log: bool) -> alt.X:
    """The second goal from left to right, in its unit."""
    import altair as alt

    name = second.metric
    words = "format(datum.value, '~g')"
    if units.is_share(name):
        words = "format(datum.value * 100, '~g') + ' %'"
    elif name.endswith("seconds"):
        words = "format(datum.value, '~g') + ' s'"
    elif name.endswith("bytes"):
        words = "format(datum.value, '~s') + 'B'"
    # Named, since a layer without a row (no heat is dominated) would have none.
    scale = alt.Scale(type="log" if log else "linear", domain=ends, nice=False, padding=14)
    axis = alt.Axis(labelExpr=words, tickCount=4 if log else 6)
    title = f"{units.name(name)}, {'less' if second.mode == 'min' else 'more'} is better"
    return alt.X("x:Q", title=title, scale=scale, axis=axis)


def _told(second: Goal) -> list[tuple[str, str]]:
    named = [("level", "level"), ("value", "validation"), ("cost", units.name(second.metric)), ("how", "it is")]
    return [*named, ("trial", "trial")]


def _row(one: Attempt, goal: Goal, second: Goal, labels: Labels) -> dict[str, Any]:
    how = "on the front" if one.on_front else "dominated"
    how += "" if one.feasible else ", too far from the best"
    return {
        "level": labels.label(one.level),
        "x": one.second,
        "y": one.value,
        "front": one.on_front,
        "chosen": one.chosen,
        "value": units.value(one.value, goal.metric),
        "cost": written(one.second, second),
        "how": f"{how}, chosen" if one.chosen else how,
        "trial": one.trial,
    }
