"""How often the doctor is right: sweeps with one disease, or none, through the same code that examines real ones.

    python -m analysis.doctor.rates [--cases N] [--write docs/doctor.md]

prints Markdown tables, and writes them between the markers of the page when asked to: of planted curves of the family that the
rules were set on, of another one that none was set on, and of networks trained here.
"""

from __future__ import annotations

import argparse
import math
import platform
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from analysis.arguments import Parser, natural
from analysis.calibration import write_between_markers
from analysis.doctor import planted, planted_power
from analysis.doctor.examine import examine
from analysis.doctor.finding import Disease
from analysis.doctor.planted_case import Case, Planter
from analysis.doctor.planted_trained import EXPECTED, Cause, trained

PART = 5
"""One network is trained for so many planted cases: it takes a hundred times as long."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rates:
    """Shares of the cases: in which each disease was found, and in which it stood first; "" is for nothing at all."""

    cases: int
    found: dict[str, float]
    first: dict[str, float]


def rates(disease: Disease | None, cases: int, *, stream: int = 0, plant: Planter = planted.planted) -> Rates:
    """Examine so many planted cases of one disease; ``stream`` chooses the random numbers."""
    place = -1 if disease is None else list(Disease).index(disease)
    generator = np.random.default_rng([20_261_121, place + 1, stream])
    return _rates([_seen(plant(disease, generator)) for _ in range(cases)])


def trained_rates(cause: Cause | None, cases: int, *, stream: int = 0) -> Rates:
    """Examine so many levels of networks that were trained with one mistake, or none."""
    place = -1 if cause is None else list(Cause).index(cause)
    generator = np.random.default_rng([20_261_122, place + 1, stream])
    return _rates([_seen(trained(cause, generator)) for _ in range(cases)])


def _seen(case: Case) -> list[str]:
    """What is found, the weightiest first."""
    return [one.disease.value for one in examine(case.question, case.records, waits=case.waits)] or [""]


def _rates(seen: Sequence[Sequence[str]]) -> Rates:
    names = {name for one in seen for name in one}
    return Rates(
        cases=len(seen),
        found={name: sum(name in one for one in seen) / len(seen) for name in names},
        first={name: sum(name == one[0] for one in seen) / len(seen) for name in names},
    )


def table(cases: int, plant: Planter) -> str:
    """Misses and false alarms of every disease, as Markdown."""
    healthy = rates(None, cases, plant=plant)
    lines = ["| disease | missed | not named first | in healthy sweeps |", "| --- | --- | --- | --- |"]
    for disease in Disease:
        ill = rates(disease, cases, plant=plant)
        cells = (
            1 - ill.found.get(disease.value, 0.0),
            1 - ill.first.get(disease.value, 0.0),
            healthy.found.get(disease.value, 0.0),
        )
        lines.append(f"| {disease.value} | {' | '.join(_cell(share, cases) for share in cells)} |")
    lines.append(f"| anything | | | {_cell(1 - healthy.found.get('', 0.0), cases)} |")
    return "\n".join(lines)


def trained_table(cases: int) -> str:
    """What is found in networks with one mistake, and in those with none, as Markdown."""
    lines = [
        "| mistake | right are | nothing found | first is another | first found |",
        "| --- | --- | --- | --- | --- |",
    ]
    for cause in (*Cause, None):
        seen = trained_rates(cause, cases)
        right = [one.value for one in EXPECTED[cause]] if cause is not None else []
        nothing = seen.first.get("", 0.0)
        other = 1 - nothing - sum(seen.first.get(name, 0.0) for name in right)
        most = sorted(((share, name) for name, share in seen.first.items() if name and share), reverse=True)
        first = ", ".join(f"{name} {100 * share:.0f}" for share, name in most)
        cells = (_cell(nothing, cases) if right else "", _cell(max(0.0, other), cases), first)
        lines.append(f"| {cause or 'none'} | {', '.join(right) or 'nothing'} | {' | '.join(cells)} |")
    return "\n".join(lines)


def tables(cases: int) -> str:
    """All tables with their headings, as Markdown."""
    networks = max(1, cases // PART)
    return "\n\n".join(
        [
            f"{cases:,} planted sweeps for each disease and {cases:,} healthy ones, {networks:,} levels of networks for each "
            f"mistake, in % ± Monte Carlo standard error; numpy {np.__version__}, Python {platform.python_version()}.",
            "**Exponential curves, on which the rules were set**",
            table(cases, planted.planted),
            "**Curves by power laws with heavy-tailed noise, on which no rule was set**",
            table(cases, planted_power.planted),
            "**Networks trained with one mistake**",
            trained_table(networks),
        ]
    )


def _cell(share: float, cases: int) -> str:
    return f"{100 * share:.1f} ± {100 * math.sqrt(share * (1 - share) / cases):.1f}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure; the exit status is 0."""
    parser = Parser(
        prog="python -m analysis.doctor.rates",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--cases", type=natural, default=1_000, metavar="N", help="planted sweeps of each kind (1,000)")
    parser.add_argument(
        "--write", type=Path, metavar="PAGE", help="a page to write the tables into, between its markers"
    )
    options = parser.parse_args(arguments)
    text = tables(options.cases)
    print(text)
    if options.write is not None:
        write_between_markers(options.write, text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
