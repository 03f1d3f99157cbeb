"""How often the intervals of a spread hold the truth: planted scores whose spread is known, through the code that judges real ones.

    python -m analysis.spread_calibration [--sweeps N] [--write docs/statistics.md]

prints a Markdown table, each cell a percentage with its Monte Carlo standard error, and writes it between the markers of the page
when asked to.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from analysis.calibration import (
    ALPHA,
    Noise,
    cell,
    exponential,
    heavy_tailed,
    lognormal,
    normal,
    small_test_set,
    table,
    write_between_markers,
)
from analysis.spread import Array, jackknife, variances

SEEDS = (6, 8, 16, 64)
BEGIN, END = "<!-- spread: begin -->", "<!-- spread: end -->"

NOISES: tuple[tuple[str, Noise], ...] = (
    ("normal", normal),
    ("accuracy on 360 samples", small_test_set),
    ("exponential (skewness 2)", exponential),
    ("t, 3 degrees of freedom", heavy_tailed),
    ("lognormal (skewness 6)", lognormal),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Held:
    """Shares of the planted sweeps whose interval held the truth, by the jackknife and by chi-square."""

    jackknife: float
    chi_square: float


def deviations(noise: Noise, *, seeds: int, sweeps: int, alpha: float = ALPHA) -> Held:
    """Intervals of the standard deviation of scores whose true one is 1."""
    from scipy.stats import chi2

    found, left = variances(noise(np.random.default_rng([20_260_102, seeds]), (sweeps, seeds)))
    with np.errstate(
        divide="ignore", invalid="ignore"
    ):  # of few seeds one may be all that differs: no interval, not held
        low, high = jackknife(np.log(found) / 2, np.log(left) / 2, alpha=alpha)
    df = seeds - 1
    least, most = df * found / float(chi2.isf(alpha / 2, df)), df * found / float(chi2.ppf(alpha / 2, df))
    return Held(
        jackknife=float(((low <= 0) & (high >= 0)).mean()), chi_square=float(((least <= 1) & (most >= 1)).mean())
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Planted:
    """What three sources really do, as standard deviations, and how much ``luck`` every run has beside, drawn anew by each.

    The whole draws on each seed what the sources drew there. Without luck the sources add up; with it each level has all of it.
    """

    noise: Noise
    sds: tuple[float, float, float]
    luck: float = 0.0

    def scores(self, *, seeds: int, sweeps: int) -> Array:
        """[sources and then the whole, sweeps, seeds]."""
        generator = np.random.default_rng([20_260_103, seeds])
        parts = np.array(self.sds)[:, None, None] * self.noise(generator, (3, sweeps, seeds))
        own = self.luck * self.noise(generator, (4, sweeps, seeds))
        both: Array = np.concatenate([parts, parts.sum(0, keepdims=True)]) + own
        return both

    @property
    def true(self) -> Array:
        """The variances of the sources and of the whole."""
        parts = np.square(self.sds)
        return np.array([*parts, parts.sum()]) + self.luck**2


def shares(planted: Planted, *, seeds: int, sweeps: int, alpha: float = ALPHA) -> tuple[float, float]:
    """How often the interval held the first source's share of the whole's variance, and what all sources have of it together."""
    found, left = (np.log(part) for part in variances(planted.scores(seeds=seeds, sweeps=sweeps)))
    sums, sums_left = (np.log(np.exp(part[:3]).sum(0)) for part in (found, left))
    truth = planted.true
    held = []
    for above, above_left, true in (
        (found[0], left[0], truth[0] / truth[3]),
        (sums, sums_left, truth[:3].sum() / truth[3]),
    ):
        low, high = jackknife(above - found[3], above_left - left[3], alpha=alpha)
        held.append(float(((low <= np.log(true)) & (high >= np.log(true))).mean()))
    return held[0], held[1]


def tables(sweeps: int) -> str:
    """The tables with their headings, as Markdown."""
    rows = []
    for name, noise in NOISES:
        found = [deviations(noise, seeds=n, sweeps=sweeps) for n in SEEDS]
        rows.append([name, "jackknife", *(cell(each.jackknife, sweeps) for each in found)])
        rows.append([name, "chi-square", *(cell(each.chi_square, sweeps) for each in found)])
    head = ["noise", "interval", *(f"{n} seeds" for n in SEEDS)]
    cases = (
        ("normal, 3 : 1 : 1", Planted(noise=normal, sds=(3.0, 1.0, 1.0))),
        ("normal, 3 : 1 : 1, luck 2", Planted(noise=normal, sds=(3.0, 1.0, 1.0), luck=2.0)),
        ("exponential, 3 : 1 : 1, luck 2", Planted(noise=exponential, sds=(3.0, 1.0, 1.0), luck=2.0)),
    )
    ratios = []
    for name, planted in cases:
        both = [shares(planted, seeds=n, sweeps=sweeps) for n in SEEDS]
        ratios.append([name, "the first one's share", *(cell(share, sweeps) for share, _ in both)])
        ratios.append([name, "all together", *(cell(together, sweeps) for _, together in both)])
    return "\n\n".join(
        [
            f"**A standard deviation is covered** (95 is wanted; {sweeps:,} simulated levels a cell)",
            table(head, rows),
            "**A source's share of the variance, and what all have together, are covered** (95 is wanted)",
            table(["sources", "ratio", *(f"{n} seeds" for n in SEEDS)], ratios),
        ]
    )


def main(arguments: Sequence[str]) -> int:
    """Run the simulations; the exit status is 0."""
    parser = argparse.ArgumentParser(prog="python -m analysis.spread_calibration", description=__doc__.split("\n")[0])
    parser.add_argument("--sweeps", type=int, default=10_000, metavar="N", help="simulated levels a cell (10,000)")
    parser.add_argument(
        "--write", type=Path, metavar="PAGE", help="a page to write the tables into, between its markers"
    )
    options = parser.parse_args(arguments)
    text = tables(options.sweeps)
    print(text)
    if options.write is not None:
        write_between_markers(options.write, text, begin=BEGIN, end=END)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
