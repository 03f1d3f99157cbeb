"""Where the time of runs goes: a table in the terminal, and a section of the page where a sweep was profiled."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from analysis import units
from analysis.records import Stage, TrialRecord
from reports.labels import Labels
from reports.palette import FIFTHS, MUTED, RULE, swatch

if TYPE_CHECKING:
    from rich.table import Table

ARTIFACTS, NUMBERS = "artifacts", "profile.json"
"""Where a trial leaves its profile in the sweep's folder: ``artifacts/<id>/profile.json``."""

PHASES = ("data", "forward", "backward", "optimizer", "validation", "checkpoint", "other")
COLOURS = dict(zip(PHASES, (*FIFTHS, MUTED, RULE), strict=True))

Phases = Mapping[str, tuple[float, float]]
"""The share of each phase, and the median of a single time in seconds."""

QUANTILES = ("mean", "least", "p50", "p95", "p99", "greatest")

UNITS = (("s", 1.0), ("ms", 1e3), ("µs", 1e6))


@dataclass(frozen=True, kw_only=True, slots=True)
class ProfileRow:
    """A level: its phases as (share, a call) in words, in the order of ``PHASES``; ``bar`` draws the shares."""

    label: str
    swatch: str
    trials: int
    phases: Sequence[tuple[str, str]]
    bar: Markup


@dataclass(frozen=True, kw_only=True, slots=True)
class ProfileSection:
    """The table of all levels that were profiled: its columns with the colour of each.

    ``trials`` says of how many, ``stage`` of which.
    """

    columns: Sequence[tuple[str, Markup]]
    rows: Sequence[ProfileRow]
    trials: str
    stage: str


def table(title: str, found: Mapping[str, Any]) -> Table:
    """One profile, 80 columns wide: shares, sums, and what a single time took."""
    from rich.table import Table

    title = f"{title} on {found['device']}"
    shown = Table(title=title, title_justify="left", box=None, padding=(0, 1, 0, 0), header_style="dim")
    for name in ("", "share", "in all", "times", "mean", "min", "p50", "p95", "p99", "max"):
        shown.add_column(name, justify="right" if name else "left", no_wrap=True)
    for phase in found["phases"]:
        single = [_brief(phase[name]) for name in QUANTILES]
        # What is left over is many things.
        own = [""] * 7 if phase["phase"] == "other" else [units.count(phase["count"]), *single]
        shown.add_row(phase["phase"], _percent(phase["share"]), _brief(phase["total"]), *own)
    shown.add_row("whole", "100 %", _brief(found["seconds"]), style="bold")
    return shown


def lines(found: Mapping[str, Any]) -> Iterator[str]:
    """What stands below it: what was measured, how far several workers were apart, where the trace is."""
    epochs = found["epochs"]
    which = f"epoch {epochs[0]}" if len(epochs) == 1 else f"epochs {epochs[0]} to {epochs[-1]}"
    warm = " (the one before warmed up)" if epochs[0] > 1 else ", which warmed up too"
    yield f"{units.count(found['steps'])} steps of {which}{warm}"
    if found["workers"] > 1:
        spread = [
            f"{phase['phase']} {_brief(phase['workers'][0])} to {_brief(phase['workers'][1])}"
            for phase in found["phases"]
            if phase["workers"] is not None and phase["phase"] != "other"
        ]
        yield f"the first of {found['workers']} workers; means of all: {', '.join(spread)}"
    if found.get("trace") is not None:
        first, last = found["traced"]
        yield f"trace of steps {first} to {last}, left out above: {found['trace']} (open it in ui.perfetto.dev)"


def section(folder: Path, records: Sequence[TrialRecord], labels: Labels) -> ProfileSection | None:
    """The section of a sweep whose trials were profiled: its finals, or its heats where no final was; None for any other."""
    found = {record.id: profile for record in records if (profile := _read(folder, record.id)) is not None}
    for stage in (Stage.FINAL, Stage.HEAT, Stage.BENCHMARK):
        by_level: dict[str, list[Phases]] = {}
        for record in records:
            if record.stage is stage and record.id in found:
                by_level.setdefault(labels.label(record.level), []).append(found[record.id])
        if by_level:
            shown = [
                name for name in PHASES if any(_share(one, name) for all_of in by_level.values() for one in all_of)
            ]
            rows = [_row(label, labels, all_of, shown) for label, all_of in by_level.items()]
            rows.sort(key=lambda row: labels.place(row.label))
            columns = [(name, _key(name)) for name in shown]
            trials = _trials(rows)
            named = stage.value if trials == "1" else f"{stage.value}s"
            return ProfileSection(columns=columns, rows=rows, trials=trials, stage=named)
    return None


def _read(folder: Path, trial: str) -> Phases | None:
    """A trial's phases; None where there is none, or it cannot be read."""
    try:
        found = json.loads((folder / ARTIFACTS / trial / NUMBERS).read_text())
        return {phase["phase"]: (float(phase["share"]), float(phase["p50"])) for phase in found["phases"]}
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _row(label: str, labels: Labels, profiles: Sequence[Phases], columns: Sequence[str]) -> ProfileRow:
    shares = [mean(_share(each, name) for each in profiles) for name in columns]
    calls = [[each[name][1] for each in profiles if name in each] for name in columns]
    return ProfileRow(
        label=label,
        swatch=swatch(labels.place(label)),
        trials=len(profiles),
        phases=[
            (_percent(share), _brief(mean(call)) if call and name != "other" else "")
            for name, share, call in zip(columns, shares, calls, strict=True)
        ],
        bar=_bar(columns, shares),
    )


def _trials(rows: Sequence[ProfileRow]) -> str:
    """How many trials a level has."""
    fewest, most = min(row.trials for row in rows), max(row.trials for row in rows)
    return f"{fewest}" if fewest == most else f"{fewest} to {most}"


def _share(profile: Phases, name: str) -> float:
    return float(profile[name][0]) if name in profile else 0.0


def _bar(names: Sequence[str], shares: Sequence[float]) -> Markup:
    """The shares side by side; the cells have them in numbers."""
    parts, at = [], 0.0
    for name, share in zip(names, shares, strict=True):
        width = 100 * share
        parts.append(
            f'<rect x="{at:.2f}" width="{max(0.0, width - 0.3):.2f}" height="10" fill="{COLOURS[name].light}"/>'
        )
        at += width
    drawn = "".join(parts)
    return Markup(
        f'<svg class="shares" viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">{drawn}</svg>'
    )


def _key(name: str) -> Markup:
    """The colour of a phase beside its name."""
    drawn = f'<rect width="10" height="10" rx="2" fill="{COLOURS[name].light}"/>'
    return Markup(f'<svg class="phase" viewBox="0 0 10 10" aria-hidden="true">{drawn}</svg>')


def _percent(share: float) -> str:
    return "<1 %" if 0 < share < 0.005 else f"{100 * share:.0f} %"


def _brief(seconds: float) -> str:
    """A time in six characters: ``9.9 µs``, ``123 ms``, ``2.7 s``."""
    unit, scale = next((pair for pair in UNITS if seconds * pair[1] >= 0.9995), UNITS[-1])
    value = seconds * scale
    return f"{value:.1f} {unit}" if value < 9.95 else f"{value:.0f} {unit}"
