"""The page's section on how training scales with the workers: chart, table, and under which conditions it was measured."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from markupsafe import Markup

from analysis import units
from analysis.effective_batch import Growth
from analysis.ledger import Question
from analysis.scaling import Scaling, ScalingGroup, ScalingPoint
from analysis.scaling_answer import share, times
from analysis.verdict import Verdict, bounded
from reports.figure import Figure, figure
from reports.labels import Labels
from reports.palette import swatch
from reports.scaling_chart import labelled, shapes, throughput
from reports.whisker import Axis, axis, header, whisker


@dataclass(frozen=True, kw_only=True, slots=True)
class ScalingRow:
    """One level as words, ``swatch`` in its colour; ``strip`` draws its efficiency.

    ``again`` for a run that stands in a group above too.
    """

    workers: int
    swatch: str
    again: bool
    batch: str
    throughput: str
    interval: str
    speed_up: str
    speed_up_interval: str
    efficiency: str
    efficiency_interval: str
    strip: Markup
    memory: str
    memory_in_all: str
    cpu: str
    joules: str
    n: int


@dataclass(frozen=True, kw_only=True, slots=True)
class ScalingPart:
    """The rows of one group; ``words`` say what kind of scaling it shows, ``sign`` is the shape of its points in the chart."""

    label: str
    words: str
    sign: str
    rows: Sequence[ScalingRow]


@dataclass(frozen=True, kw_only=True, slots=True)
class ScalingSection:
    """The whole section; ``head`` is the axis over the strips, ``energy`` is False where no joules are known.

    ``legend`` holds (sign, label) of the groups, empty where the chart names its lines itself.
    """

    legend: Sequence[tuple[str, str]]
    chart: Figure
    head: Markup
    parts: Sequence[ScalingPart]
    energy: bool
    conditions: str
    method: str


def section(question: Question, verdict: Verdict, labels: Labels) -> ScalingSection | None:
    """The section of a sweep that compares numbers of workers and has a throughput; None for any other."""
    scaling = verdict.scaling
    if scaling is None:
        return None
    groups = [group for group in scaling.groups if any(point.throughput is not None for point in group.points)]
    if not groups:
        return None
    points = [point for group in groups for point in group.points]
    scale = axis(
        [point.efficiency for point in points if point.efficiency is not None],
        [point.efficiency_interval for point in points if point.efficiency_interval is not None],
        mark=1.0,
    )
    head = header(scale, [f"{share(tick)} %" for tick in scale.ticks]) if scale is not None else ""
    signs = {label: sign for label, (_, sign) in shapes(groups).items()}
    return ScalingSection(
        legend=[] if labelled(list(signs)) else [(sign, label) for label, sign in signs.items()],
        chart=_chart(scaling, groups, labels, verdict.confidence),
        head=Markup(head),
        parts=_parts(groups, scale, labels, signs),
        energy=any(point.joules is not None for point in points),
        conditions=" ".join([*_conditions(question, scaling), *_same(scaling, groups)]),
        method=" ".join(_method(scaling, verdict.confidence)),
    )


def kind(group: ScalingGroup) -> str:
    """What kind of scaling a group shows, as words; empty where the finals do not say."""
    if group.kind is Growth.STRONG:
        return "strong scaling: the same batch is shared by more workers"
    return "weak scaling: the batch grows with the workers" if group.kind is Growth.WEAK else ""


def _chart(scaling: Scaling, groups: Sequence[ScalingGroup], labels: Labels, confidence: float) -> Figure:
    shown = any(bounded(point.interval) for group in groups for point in group.points)
    spread = f" with its {100 * confidence:g} % interval" if shown else ""
    named = ", ".join(
        f"{group.label} {units.count(point.throughput)} with {point.workers}"
        for group in groups
        for point in group.points
        if point.throughput is not None
    )
    return figure(
        name="scaling-throughput",
        title="Throughput",
        caption=f"Samples trained a second by the number of workers, both on logarithmic axes: the mean over the finals{spread}."
        " Dashed is the ideal: twice as many workers, twice as fast.",
        described=f"Line chart of samples trained a second by workers: {named}.",
        legend=[],
        build=throughput(replace(scaling, groups=groups), labels.order),
    )


def part(
    group: ScalingGroup,
    scale: Axis | None = None,
    labels: Labels | None = None,
    sign: str = "",
    above: Collection[str] = (),
) -> ScalingPart:
    """One group as words; without an axis nothing is drawn, without labels there are no colours; ``above`` are labels shown."""
    rows = [
        _row(point, scale, swatch(labels.place(point.label)) if labels else "", again=point.label in above)
        for point in group.points
    ]
    return ScalingPart(label=group.label, words=kind(group), sign=sign, rows=rows)


def _parts(
    groups: Sequence[ScalingGroup], scale: Axis | None, labels: Labels, signs: Mapping[str, str]
) -> list[ScalingPart]:
    """All groups, each knowing what those above it have shown."""
    above: set[str] = set()
    parts = []
    for group in groups:
        parts.append(part(group, scale, labels, signs[group.label], frozenset(above)))
        above |= {point.label for point in group.points}
    return parts


def _row(point: ScalingPoint, scale: Axis | None, colour: str, *, again: bool) -> ScalingRow:
    strip = ""
    if scale is not None and point.efficiency is not None:
        strip = whisker(scale, point.efficiency, point.efficiency_interval)
    base = point.speed_up is not None and point.speed_up_interval is None
    return ScalingRow(
        workers=point.workers,
        swatch=colour,
        again=again,
        batch=units.count(point.batch),
        throughput=units.count(point.throughput),
        interval=units.interval(point.interval, units.count),
        speed_up="1" if base else times(point.speed_up),
        speed_up_interval=units.interval(point.speed_up_interval, times),
        efficiency=f"{share(point.efficiency)} %" if point.efficiency is not None else units.DASH,
        efficiency_interval=units.interval(point.efficiency_interval, share),
        strip=Markup(strip),
        memory=units.size(point.peak_bytes),
        memory_in_all=units.size(point.peak_bytes_in_all),
        cpu=units.seconds(point.cpu_seconds),
        joules="not known" if point.joules is None else f"{point.joules:.3g} J",
        n=point.n,
    )


def _conditions(question: Question, scaling: Scaling) -> list[str]:
    """Where and how it was measured, as far as that is known."""
    raw, facts = question.raw, []
    hardware = raw.get("hardware")
    if isinstance(hardware, Mapping):
        gpus = hardware.get("gpus")
        devices = [str(gpu) for gpu in gpus] if isinstance(gpus, list) else []
        cores = f", {scaling.cores} core{'' if scaling.cores == 1 else 's'}" if scaling.cores is not None else ""
        facts.append(", ".join(devices) or f"{hardware.get('cpu') or 'a CPU that is not known'}{cores}")
    if raw.get("lane") is not None:
        facts.append(f"lane {raw['lane']}")
    if scaling.threads is not None:
        facts.append(f"{scaling.threads} thread{'' if scaling.threads == 1 else 's'} a worker")
    if raw.get("concurrency") == 1:
        facts.append("one trial at a time")
    remarks = [f"Measured on {', '.join(facts)}."] if facts else []
    if not scaling.like_with_like:
        remarks.append(
            "The finals ran in several lanes or on different hardware: their seconds cannot be compared, so no speed-up is given."
        )
    if scaling.oversubscribed:
        *some, last = map(str, scaling.oversubscribed)
        counts = f"{', '.join(some)} and {last}" if some else last
        remarks.append(
            f"Oversubscribed: {counts} workers have more threads than these {scaling.cores} cores, which they had to share"
            " unless other machines took part."
        )
    return remarks


def _same(scaling: Scaling, groups: Sequence[ScalingGroup]) -> list[str]:
    """What is said of one configuration that has two names: a run that stands for both, or two runs that differ by noise."""
    said = []
    for twins in scaling.twins:
        text = f"{twins.first} and {twins.second} are one configuration, run twice"
        if twins.ratio is not None:
            ends = units.interval(twins.interval, times)
            text += (
                f": the second trained {times(twins.ratio)} times as many samples a second{f' {ends}' if ends else ''}"
            )
        same = ", and the scores are the same" if twins.same_scores else ""
        said.append(f"{text}{same}. What differs between them is noise.")
    shown: dict[tuple[str, int], list[str]] = {}
    for group in groups:
        for point in group.points:
            shown.setdefault((point.label, point.workers), []).append(group.label)
    for (_, workers), where in shown.items():
        if len(where) > 1:
            plural = "" if workers == 1 else "s"
            said.append(
                f"{' and '.join(where)} are one configuration with {workers} worker{plural}: one run stands for both."
            )
    return said


def _method(scaling: Scaling, confidence: float) -> list[str]:
    """How the figures came about."""
    warm_up = "; the first epoch of each final is left out as warm-up" if scaling.warm_up else ""
    energy = any(point.joules is not None for group in scaling.groups for point in group.points)
    cost = (
        "Memory is the most that one worker held, libraries included; in all it is at most that for each. "
        "CPU time is that of all workers, with validation."
    )
    told = any(bounded(point.speed_up_interval) for group in scaling.groups for point in group.points)
    together = f"; all these intervals hold together at {100 * confidence:g} %" if told else ""
    few = " There are too few seeds for an interval." if scaling.seeds and not told else ""
    return [
        f"Seconds are those of training, without validation{warm_up}.",
        f"How many times as fast: against the fewest workers of the same kind, by pairs of the same seed{together}.{few}"
        " Efficiency is that over how many times as many workers there are.",
        cost if energy else f"{cost} Energy is not known: nothing measured it.",
    ]
