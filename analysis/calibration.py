"""How often the verdict is right: simulated sweeps whose truth is known, through the same code that judges real ones.

    python -m analysis.calibration [--sweeps N] [--write docs/statistics.md]

prints Markdown tables, each cell a percentage with its Monte Carlo standard error, and writes them between the markers of
the page when asked to.
"""

from __future__ import annotations

import argparse
import math
import platform
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from analysis.judge import judge
from analysis.ledger import Goal, Question
from analysis.looks import occasion
from analysis.records import Scalar, Stage, Status, TrialRecord
from analysis.signflip import EXACT_UP_TO, Array, compare, sign_patterns
from analysis.verdict import Verdict

ALPHA = 0.05
SEEDS = (6, 8, 16)
BEGIN, END = "<!-- calibration: begin -->", "<!-- calibration: end -->"
DRAWS = 999  # random flips above 13 seeds: fewer than a verdict uses, as rates barely depend on it and time does

Noise = Callable[[np.random.Generator, tuple[int, ...]], Array]
"""Draws an array of this shape with mean 0 and standard deviation 1."""


def normal(generator: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """The textbook's noise."""
    return generator.standard_normal(shape)


def exponential(generator: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Skewness 2: most runs are alike, some are far off on one side."""
    return 1.0 - generator.standard_exponential(shape)


def lognormal(generator: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Skewness 6.2: now and then a run is much worse than all others."""
    return (math.exp(0.5) - generator.lognormal(size=shape)) / math.sqrt((math.e - 1) * math.e)


def heavy_tailed(generator: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Student's t with 3 degrees of freedom: outliers on both sides."""
    noise: Array = generator.standard_t(3, size=shape) / math.sqrt(3)
    return noise


def small_test_set(generator: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Accuracy 0.97 on 360 test samples: steps of 0.28 points, so that many differences tie or are zero."""
    right = generator.binomial(360, 0.97, size=shape).astype(np.float64)
    noise: Array = (right - 360 * 0.97) / math.sqrt(360 * 0.97 * 0.03)
    return noise


NOISES: tuple[tuple[str, Noise], ...] = (
    ("normal", normal),
    ("exponential", exponential),
    ("lognormal", lognormal),
    ("t, 3 degrees of freedom", heavy_tailed),
    ("accuracy on 360 samples", small_test_set),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Truth:
    """What the levels of a simulated sweep really are: means and spreads, in sd of one run of a level of spread 1."""

    noise: Noise
    means: tuple[float, ...]
    spreads: tuple[float, ...] | None = None

    def scores(self, generator: np.random.Generator, *, sweeps: int, seeds: int) -> Array:
        """[sweeps, levels, seeds]; what a seed does to all levels alike (its split) is three times what it does to one."""
        noise = self.noise(generator, (sweeps, len(self.means), seeds))
        spreads = np.array(self.spreads or (1.0,) * len(self.means))
        shared = 3 * generator.standard_normal((sweeps, 1, seeds))
        scores: Array = noise * spreads[:, None] + np.array(self.means)[:, None] + shared
        return scores


@dataclass(frozen=True, kw_only=True, slots=True)
class Rates:
    """Shares of the simulated sweeps: ``error`` told some pair of equal levels apart, ``coverage`` had every true difference
    in its interval; ``power`` is the share of unequal pairs that were told apart, the right way round."""

    error: float
    coverage: float
    power: float


def rates(truth: Truth, *, seeds: int, sweeps: int, alpha: float = ALPHA, stream: int = 0) -> Rates:
    """Simulate that many sweeps through ``signflip.compare``; ``stream`` chooses the random numbers."""
    generator = np.random.default_rng([20_260_101, seeds, len(truth.means), stream])
    scores = truth.scores(generator, sweeps=sweeps, seeds=seeds)
    first, second = np.triu_indices(len(truth.means), 1)
    means = np.array(truth.means)
    true = means[first] - means[second]
    test = compare(scores[:, first] - scores[:, second], alpha=alpha, patterns=_patterns(seeds))
    covered = (test.low <= true + 1e-9) & (test.high >= true - 1e-9)
    equal = true == 0
    right = test.distinguishable & (np.sign(test.mean) == np.sign(true))
    return Rates(
        error=float(test.distinguishable[:, equal].any(1).mean()) if equal.any() else 0.0,
        coverage=float(covered.all(1).mean()),
        power=float(right[:, ~equal].mean()) if not equal.all() else 0.0,
    )


def error_over_looks(declared: Sequence[int], *, levels: int, sweeps: int, noise: Noise = normal) -> float:
    """How often equal levels are told apart at any of the looks, each being taken as its seeds are there."""
    generator = np.random.default_rng([20_260_101, levels, *declared])
    scores = Truth(noise=noise, means=(0.0,) * levels).scores(generator, sweeps=sweeps, seeds=declared[-1])
    first, second = np.triu_indices(levels, 1)
    wrong = np.zeros(sweeps, dtype=bool)
    for seeds in declared:
        now = occasion(declared, done=seeds, alpha=ALPHA)
        d = scores[:, first, :seeds] - scores[:, second, :seeds]
        wrong |= compare(d, alpha=now.alpha, patterns=_patterns(seeds)).distinguishable.any(1)
    return float(wrong.mean())


def simulated_verdict(scores: Array, *, diverged: Sequence[tuple[int, int]] = ()) -> Verdict:
    """The verdict on a ledger with these test accuracies [levels, seeds]; ``diverged`` names finals by level and seed."""
    levels, seeds = scores.shape
    question = Question(
        sweep="simulated",
        task="simulated",
        goal=Goal(metric="accuracy", mode="max"),
        factors={"batch_size": tuple(range(levels))},
        seeds=seeds,
        varied=("init", "order", "split"),
        raw={},
    )
    records = []
    for level in range(levels):
        for seed in range(seeds):
            point: dict[str, Scalar] = {"batch_size": level}
            status = Status.DIVERGED if (level, seed) in diverged else Status.COMPLETED
            records.append(
                TrialRecord(
                    id=f"{level}-{seed}",
                    sweep="simulated",
                    task="simulated",
                    stage=Stage.FINAL,
                    level=point,
                    point=point,
                    seed=seed,
                    status=status,
                    metrics={"test/accuracy": float(scores[level, seed])},
                )
            )
    return judge(question, records)


def diverged_rates(*, sweeps: int, seeds: int = 8) -> tuple[float, float]:
    """A level that would win but diverges in one to three finals; of the other two one is 2 sd of the difference ahead.

    The share of verdicts which put the diverged level last and out of the comparisons, and of those which also tell the
    better of the other two from the worse.
    """
    generator = np.random.default_rng([20_260_101, 7, seeds])
    scores = Truth(noise=normal, means=(5.0, 2 * math.sqrt(2), 0.0)).scores(generator, sweeps=sweeps, seeds=seeds)
    last = right = 0
    for sweep in scores:
        gone = generator.choice(seeds, size=generator.integers(1, 4), replace=False)
        verdict = simulated_verdict(0.9 + sweep / 1000, diverged=[(0, int(seed)) for seed in gone])
        is_last = verdict.levels[-1].label == "0" and all("0" not in (pair.a, pair.b) for pair in verdict.comparisons)
        last += is_last and verdict.levels[-1].rank_group > max(level.rank_group for level in verdict.levels[:-1])
        right += is_last and [(level.label, level.rank_group) for level in verdict.levels[:2]] == [("1", 1), ("2", 2)]
    return last / sweeps, right / sweeps


def few_seeds_rate(*, sweeps: int, seeds: int) -> float:
    """The share of verdicts that tell anything apart below six seeds, two levels being 10 sd apart."""
    generator = np.random.default_rng([20_260_101, 5, seeds])
    scores = Truth(noise=normal, means=(10.0, 0.0)).scores(generator, sweeps=sweeps, seeds=seeds)
    verdicts = (simulated_verdict(0.9 + sweep / 1000) for sweep in scores)
    told = [
        any(level.rank_group > 1 for level in verdict.levels) or "Too few" not in verdict.answer for verdict in verdicts
    ]
    return sum(told) / sweeps


def _patterns(seeds: int) -> Array:
    return sign_patterns(seeds) if seeds <= EXACT_UP_TO else sign_patterns(seeds, draws=DRAWS)


def cell(share: float, sweeps: int) -> str:
    """A percentage with its Monte Carlo standard error; at 0 or 1 that of a single sweep."""
    spread = math.sqrt(share * (1 - share) / sweeps) if 0 < share < 1 else 1 / sweeps
    return f"{100 * share:.1f} ± {100 * spread:.1f}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Rows as Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def equal_levels_table(sweeps: int) -> str:
    """Family-wise error: equal levels of which some pair is told apart."""
    rows = [
        [name, str(levels)]
        + [
            cell(rates(Truth(noise=noise, means=(0.0,) * levels), seeds=n, sweeps=sweeps, stream=i).error, sweeps)
            for n in SEEDS
        ]
        for i, (name, noise) in enumerate(NOISES)
        for levels in (2, 6)
    ]
    return table(["noise", "levels", *(f"{n} seeds" for n in SEEDS)], rows)


def coverage_table(sweeps: int) -> str:
    """Simultaneous coverage: every true difference lies in its interval; and the error among levels that are equal."""
    spreads = (1.0, 2.0, 4.0, 1.0, 2.0, 4.0)
    near, far = tuple(float(i) for i in range(6)), tuple(10.0 * i for i in range(6))
    cases = (
        ("six levels, 1 sd apart, normal", Truth(noise=normal, means=near)),
        ("six levels, 10 sd apart, normal", Truth(noise=normal, means=far)),
        ("three equal, three 10 sd away, normal", Truth(noise=normal, means=(0.0, 0.0, 0.0, 10.0, 20.0, 30.0))),
        ("six equal, spreads 1, 2, 4, normal", Truth(noise=normal, means=(0.0,) * 6, spreads=spreads)),
        ("six levels, 10 sd apart, spreads 1, 2, 4, normal", Truth(noise=normal, means=far, spreads=spreads)),
        ("six levels, 1 sd apart, lognormal", Truth(noise=lognormal, means=near)),
        ("*two equal, spreads 1 and 4, exponential*", Truth(noise=exponential, means=(0.0, 0.0), spreads=(1.0, 4.0))),
        ("*six equal, spreads 1, 2, 4, exponential*", Truth(noise=exponential, means=(0.0,) * 6, spreads=spreads)),
        ("*six equal, spreads 1, 2, 4, lognormal*", Truth(noise=lognormal, means=(0.0,) * 6, spreads=spreads)),
    )
    rows = []
    for i, (name, truth) in enumerate(cases):
        found = [rates(truth, seeds=n, sweeps=sweeps, stream=100 + i) for n in SEEDS]
        rows.append([name, *(cell(each.coverage, sweeps) for each in found), *(cell(found[1].error, sweeps),)])
    return table(["truth", *(f"covered, {n} seeds" for n in SEEDS), f"error, {SEEDS[1]} seeds"], rows)


def power_table(sweeps: int) -> str:
    """Power: a level better than the others, which are equal, is told from each of them."""
    rows = []
    for levels in (2, 6):
        for gap in (0.5, 1.0, 1.5, 2.0):
            truth = Truth(noise=normal, means=(gap * math.sqrt(2),) + (0.0,) * (levels - 1))
            found = [rates(truth, seeds=n, sweeps=sweeps, stream=200).power for n in SEEDS]
            rows.append([str(levels), f"{gap:g}", *(cell(power, sweeps) for power in found)])
    return table(["levels", "gap in sd of the paired difference", *(f"{n} seeds" for n in SEEDS)], rows)


def judge_table(sweeps: int) -> str:
    """Whole ledgers through ``judge``, and looks."""
    last, right = diverged_rates(sweeps=sweeps)
    rows = [
        ["a level that diverges in 1 to 3 of 8 finals goes last, though it scores best", cell(last, sweeps)],
        ["… and the better of the other two, 2 sd ahead, is told from the worse", cell(right, sweeps)],
        *(
            [
                f"{n} seeds, two levels 10 sd apart: anything told apart",
                cell(few_seeds_rate(sweeps=sweeps, seeds=n), sweeps),
            ]
            for n in (3, 5)
        ),
        [
            "three equal levels, looks at 8, 16 and 32 seeds: told apart at any look",
            cell(error_over_looks((8, 16, 32), levels=3, sweeps=sweeps), sweeps),
        ],
    ]
    return table(["verdicts", "% of sweeps"], rows)


def tables(sweeps: int) -> str:
    """All tables with their headings, as Markdown."""
    return "\n\n".join(
        [
            f"{sweeps:,} simulated sweeps a cell, in % ± Monte Carlo standard error; numpy {np.__version__}, "
            f"Python {platform.python_version()}.",
            "**Equal levels: some pair is told apart** (at most 5.0 is claimed)",
            equal_levels_table(sweeps),
            "**All true differences are covered** (at least 95.0 is claimed), and the error among the equal levels. In the "
            "rows in italics the assumption does not hold.",
            coverage_table(sweeps),
            "**Power: one level better than the others is told from each of them** (normal noise)",
            power_table(sweeps),
            "**Whole ledgers through the judge**",
            judge_table(sweeps),
        ]
    )


def write_between_markers(path: Path, text: str, *, begin: str = BEGIN, end: str = END) -> None:
    """Replace what stands between the page's markers. Raises ValueError when it has not both, in this order."""
    page = path.read_text(encoding="utf-8")
    before, first, rest = page.partition(begin)
    _, last, after = rest.partition(end)
    if not first or not last:
        raise ValueError(f"{path} lacks the markers {begin} and {end}; put them where the tables shall stand")
    path.write_text(f"{before}{begin}\n\n{text}\n\n{end}{after}", encoding="utf-8")


def main(arguments: Sequence[str]) -> int:
    """Run the simulations; the exit status is 0."""
    parser = argparse.ArgumentParser(prog="python -m analysis.calibration", description=__doc__.split("\n")[0])
    parser.add_argument("--sweeps", type=int, default=3_000, metavar="N", help="simulated sweeps a cell (3,000)")
    parser.add_argument(
        "--write", type=Path, metavar="PAGE", help="a page to write the tables into, between its markers"
    )
    options = parser.parse_args(arguments)
    text = tables(options.sweeps)
    print(text)
    if options.write is not None:
        write_between_markers(options.write, text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
