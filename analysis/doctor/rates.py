"""How often the doctor is right: planted sweeps with one disease, or none, through the same code that examines real ones.

    python -m analysis.doctor.rates [--cases N] [--write docs/doctor.md]

prints a Markdown table, and writes it between the markers of the page when asked to.
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

from analysis.calibration import write_between_markers
from analysis.doctor.examine import examine
from analysis.doctor.finding import Disease
from analysis.doctor.planted import planted


@dataclass(frozen=True, kw_only=True, slots=True)
class Rates:
    """Shares of the planted cases: in which each disease was found, and in which it stood first; "" is for nothing at all."""

    cases: int
    found: dict[str, float]
    first: dict[str, float]


def rates(disease: Disease | None, cases: int, *, stream: int = 0) -> Rates:
    """Examine so many cases of one disease; ``stream`` chooses the random numbers."""
    place = -1 if disease is None else list(Disease).index(disease)
    generator = np.random.default_rng([20_261_121, place + 1, stream])
    found: dict[str, int] = {}
    first: dict[str, int] = {}
    for _ in range(cases):
        case = planted(disease, generator)
        seen = [one.disease.value for one in examine(case.question, case.records, waits=case.waits)] or [""]
        first[seen[0]] = first.get(seen[0], 0) + 1
        for name in set(seen):
            found[name] = found.get(name, 0) + 1
    return Rates(
        cases=cases,
        found={name: count / cases for name, count in found.items()},
        first={name: count / cases for name, count in first.items()},
    )


def table(cases: int) -> str:
    """Misses and false alarms of every disease, as Markdown."""
    healthy = rates(None, cases)
    lines = ["| disease | missed | not named first | in healthy sweeps |", "| --- | --- | --- | --- |"]
    for disease in Disease:
        ill = rates(disease, cases)
        cells = (
            1 - ill.found.get(disease.value, 0.0),
            1 - ill.first.get(disease.value, 0.0),
            healthy.found.get(disease.value, 0.0),
        )
        lines.append(f"| {disease.value} | {' | '.join(_cell(share, cases) for share in cells)} |")
    lines.append(f"| anything | | | {_cell(1 - healthy.found.get('', 0.0), cases)} |")
    return "\n".join(
        [
            f"{cases:,} planted sweeps for each disease and {cases:,} healthy ones, in % ± Monte Carlo standard error; "
            f"numpy {np.__version__}, Python {platform.python_version()}.\n",
            *lines,
        ]
    )


def _cell(share: float, cases: int) -> str:
    return f"{100 * share:.1f} ± {100 * math.sqrt(share * (1 - share) / cases):.1f}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure; the exit status is 0."""
    parser = argparse.ArgumentParser(prog="python -m analysis.doctor.rates", description=__doc__.split("\n")[0])
    parser.add_argument("--cases", type=int, default=1_000, metavar="N", help="planted sweeps of each kind (1,000)")
    parser.add_argument(
        "--write", type=Path, metavar="PAGE", help="a page to write the table into, between its markers"
    )
    options = parser.parse_args(arguments)
    text = table(options.cases)
    print(text)
    if options.write is not None:
        write_between_markers(options.write, text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
