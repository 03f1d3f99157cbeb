"""The page's section on an ensemble of the sweep's finals, where one was built."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analysis import units
from reports.figure import Figure, figure
from reports.labels import Labels
from reports.palette import series
from reports.reliability_chart import LEAST, diagram, read

NUMBERS, DIAGRAM = "ensemble.json", "reliability.png"
"""What the command that builds an ensemble leaves in the sweep's folder."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EnsembleRow:
    """One way to answer, with its scores as words; ``main`` for all members together."""

    name: str
    main: bool
    accuracy: str
    nll: str
    brier: str
    error: str


@dataclass(frozen=True, kw_only=True, slots=True)
class EnsembleSection:
    """What the members reach together; ``chart`` is None where the diagram's points are not there."""

    sentence: str
    rows: Sequence[EnsembleRow]
    note: str
    chart: Figure | None


def section(folder: Path, labels: Labels) -> EnsembleSection | None:
    """The section of a folder in which an ensemble was built; None where there is none, or its numbers cannot be read."""
    try:
        found = json.loads((folder / NUMBERS).read_text())
        return _section(found, folder, labels)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _section(found: Mapping[str, Any], folder: Path, labels: Labels) -> EnsembleSection:
    label, members = str(found["level"]), len(found["members"])
    together, gain = found["accuracy"], found["accuracy_gain"]
    chance = "" if gain["low"] > 0 or gain["high"] < 0 else ", which can be chance"
    scores = [("one, on average", found["mean"]), ("together", found["ensemble"])]
    if found.get("scaled") is not None:
        scores.append(("together, scaled", found["scaled"]))
    note = f"On {units.count(found['samples'])} test samples; intervals are at {100 * found['confidence']:g} %."
    if found.get("left_out"):
        note += f" {units.count(found['left_out'])} that some member had seen are left out."
    if found.get("temperature") is not None:
        note += f" Scaled: by the temperature {found['temperature']:.2f}, set on validation."
    note += (
        " ECE is how far confidence and accuracy lie apart on average. Less is better, as for NLL (in nats) and Brier."
    )
    return EnsembleSection(
        sentence=f"{members} members of {label} together reach {_percent(together['value'])} % {_ends(together)} accuracy, "
        f"one alone {_percent(found['mean']['accuracy'])} % on average: "
        f"{units.gap(gain['value'], 'accuracy', signed=True)} {_ends(gain)}{chance}.",
        rows=[_row(name, each, main=name == "together") for name, each in scores],
        note=note,
        chart=_chart(folder, label, labels, int(found["samples"])),
    )


def _chart(folder: Path, label: str, labels: Labels, samples: int) -> Figure | None:
    groups = read(folder / DIAGRAM)
    if groups is None:
        return None
    single, *others = groups
    shapes = [f"{shape}: {name}" for shape, name in zip(("circles", "diamonds"), others, strict=False)]
    return figure(
        name="reliability",
        title="How far it can be believed",
        caption=f"How often the answers are right against how sure they were, on {units.count(samples)} test samples in bins of"
        f" {LEAST} or more, with 95 % intervals; a larger dot is more. Grey: {single}; {', '.join(shapes)}. Above the dashed line"
        " they are better than they claim, below it they claim too much.",
        described=f"Scatter chart of accuracy against confidence for {', '.join(groups)} of {label}.",
        legend=[],
        build=diagram(groups, series(labels.order).get(label, series([label])[label])),
    )


def _row(name: str, scores: Mapping[str, float], *, main: bool) -> EnsembleRow:
    return EnsembleRow(
        name=name,
        main=main,
        accuracy=units.value(scores["accuracy"], "accuracy"),
        nll=f"{scores['nll']:.3f}",
        brier=f"{scores['brier']:.3f}",
        error=f"{scores['calibration_error']:.3f}",
    )


def _percent(share: float) -> str:
    return units.number(share, "accuracy")


def _ends(interval: Mapping[str, float]) -> str:
    return units.interval((interval["low"], interval["high"]), _percent)
