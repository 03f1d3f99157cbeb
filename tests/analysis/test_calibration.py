"""The verdict's error rates on planted truth: what is claimed holds, within three standard errors of the simulation."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import pytest

from analysis.calibration import (
    BEGIN,
    END,
    NOISES,
    Noise,
    Truth,
    diverged_rates,
    error_over_looks,
    exponential,
    few_seeds_rate,
    heavy_tailed,
    lognormal,
    normal,
    rates,
    simulated_verdict,
    small_test_set,
    tables,
    write_between_markers,
)
from analysis.judge import judge
from analysis.records import Scalar
from analysis.signflip import compare
from tests.analysis.asked import asked
from tests.planted import planted_records

SWEEPS = 2_000
ALPHA = 0.05


def most(share: float, sweeps: int = SWEEPS) -> float:
    """The share plus three standard errors."""
    return share + 3 * math.sqrt(share * (1 - share) / sweeps)


def least(share: float, sweeps: int = SWEEPS) -> float:
    """The share less three standard errors."""
    return share - 3 * math.sqrt(share * (1 - share) / sweeps)


@pytest.mark.parametrize("noise", [noise for _, noise in NOISES])
def test_noise_has_mean_zero_and_sd_one(noise: Noise) -> None:
    drawn = noise(np.random.default_rng(0), (400_000,))
    assert drawn.mean() == pytest.approx(0.0, abs=0.02)
    assert drawn.std() == pytest.approx(1.0, abs=0.15)  # the heavy tails' variance converges slowly


@pytest.mark.parametrize("noise", [normal, exponential, lognormal, heavy_tailed, small_test_set])
@pytest.mark.parametrize(("levels", "seeds"), [(2, 6), (2, 8), (2, 12), (6, 6), (6, 8)])
def test_equal_levels_are_told_apart_no_more_often_than_alpha(noise: Noise, levels: int, seeds: int) -> None:
    found = rates(Truth(noise=noise, means=(0.0,) * levels), seeds=seeds, sweeps=SWEEPS)
    assert found.error <= most(ALPHA)
    assert found.coverage == pytest.approx(1 - found.error)


@pytest.mark.parametrize(("levels", "seeds"), [(2, 8), (6, 8), (6, 16)])
def test_and_hardly_less_often_so_that_the_procedure_is_not_idle(levels: int, seeds: int) -> None:
    # With six seeds the 64 flips are too coarse to use up alpha; from eight on they do.
    sweeps = SWEEPS if seeds < 14 else 500
    assert rates(Truth(noise=normal, means=(0.0,) * levels), seeds=seeds, sweeps=sweeps).error >= 0.025


@pytest.mark.parametrize("seeds", [6, 8])
@pytest.mark.parametrize(
    "truth",
    [
        Truth(noise=normal, means=(0.0, 1.0, 2.0, 3.0, 4.0, 5.0)),
        Truth(noise=normal, means=(0.0, 10.0, 20.0, 30.0, 40.0, 50.0)),
        Truth(noise=heavy_tailed, means=(0.0, 10.0, 20.0, 30.0, 40.0, 50.0)),
        Truth(noise=normal, means=(0.0, 0.0, 0.0, 10.0, 20.0, 30.0)),
        Truth(noise=normal, means=(0.0,) * 6, spreads=(1.0, 2.0, 4.0, 1.0, 2.0, 4.0)),
        Truth(noise=normal, means=(0.0, 5.0, 10.0), spreads=(1.0, 2.0, 4.0)),
        Truth(noise=small_test_set, means=(0.0, 3.0, 30.0)),
    ],
)
def test_all_true_differences_are_covered_at_once(truth: Truth, seeds: int) -> None:
    found = rates(truth, seeds=seeds, sweeps=SWEEPS)
    assert found.coverage >= least(1 - ALPHA)
    assert found.error <= most(ALPHA)


@pytest.mark.parametrize(("levels", "floors"), [(2, (0.15, 0.55, 0.88, 0.98)), (6, (0.01, 0.10, 0.40, 0.70))])
def test_power_grows_with_the_gap_and_is_what_the_page_says(levels: int, floors: tuple[float, ...]) -> None:
    gaps = (0.5, 1.0, 1.5, 2.0)
    found = [
        rates(Truth(noise=normal, means=(gap * math.sqrt(2),) + (0.0,) * (levels - 1)), seeds=8, sweeps=SWEEPS).power
        for gap in gaps
    ]
    assert found == sorted(found)
    assert all(power > floor for power, floor in zip(found, floors, strict=True)), found


def test_power_grows_with_the_seeds() -> None:
    truth = Truth(noise=normal, means=(math.sqrt(2), 0.0, 0.0))
    found = [rates(truth, seeds=seeds, sweeps=SWEEPS).power for seeds in (5, 6, 8, 10, 12)]
    assert found[0] == 0.0
    assert found == sorted(found)
    assert found[-1] > 0.7


def test_looking_again_is_paid_for() -> None:
    declared = (8, 10, 12)
    assert error_over_looks(declared, levels=3, sweeps=SWEEPS) <= most(ALPHA)
    # Without paying, the same three looks would go beyond alpha: that is what the spending is for.
    generator = np.random.default_rng(4)
    assert _unpaid_error(generator, declared) > most(ALPHA)


def _unpaid_error(generator: np.random.Generator, declared: tuple[int, ...]) -> float:
    d = generator.standard_normal((SWEEPS, 1, declared[-1]))
    wrong = np.zeros(SWEEPS, dtype=bool)
    for seeds in declared:
        wrong |= compare(d[..., :seeds], alpha=ALPHA).distinguishable[:, 0]
    return float(wrong.mean())


@pytest.mark.slow
def test_whole_planted_ledgers_of_equal_levels() -> None:
    """Two thousand ledgers with heats, histories and a shared split effect through the judge; skewed, with ties."""
    generator = np.random.default_rng(11)
    question = asked([16, 32, 64], seeds=8)
    apart = covered = 0
    for _ in range(SWEEPS):
        split = generator.normal(0, 0.01, 8)
        scores: dict[Scalar, list[float]] = {
            level: [round(360 * float(x)) / 360 for x in 0.97 + split - 0.004 * generator.standard_exponential(8)]
            for level in (16, 32, 64)
        }
        verdict = judge(question, planted_records(scores, heats=1))
        apart += any(level.rank_group > 1 for level in verdict.levels) or "is best" in verdict.answer
        covered += all((p.interval[0] or 0.0) <= 0 <= (p.interval[1] or 0.0) for p in verdict.comparisons)
    assert apart / SWEEPS <= most(ALPHA)
    assert covered / SWEEPS >= least(1 - ALPHA)


def test_diverged_levels_go_last_and_the_rest_is_judged_right() -> None:
    last, right = diverged_rates(sweeps=300)
    assert last == 1.0
    assert right > 0.95


@pytest.mark.parametrize("seeds", [2, 5])
def test_below_six_seeds_nothing_is_ever_told_apart(seeds: int) -> None:
    assert few_seeds_rate(sweeps=200, seeds=seeds) == 0.0


def test_the_same_stream_gives_the_same_rates_and_another_does_not() -> None:
    truth = Truth(noise=normal, means=(0.5, 0.0))
    first, again, other = (rates(truth, seeds=8, sweeps=200, stream=stream) for stream in (1, 1, 2))
    assert first == again
    assert first != other


def test_a_simulated_ledger_is_judged_like_a_real_one() -> None:
    verdict = simulated_verdict(np.array([[0.9, 0.91, 0.9, 0.92, 0.9, 0.91], [0.95, 0.96, 0.97, 0.95, 0.94, 0.96]]))
    assert [(level.label, level.rank_group) for level in verdict.levels] == [("1", 1), ("0", 2)]


def test_the_tables_go_between_the_markers_and_nowhere_else(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    write_between_markers(page, "| new |")
    write_between_markers(page, "| newer |")
    assert page.read_text() == f"before\n{BEGIN}\n\n| newer |\n\n{END}\nafter\n"
    page.write_text("no markers")
    with pytest.raises(ValueError, match="lacks the markers"):
        write_between_markers(page, "| new |")


def test_every_table_is_there_with_its_error_bars() -> None:
    text = tables(20)
    assert len(re.findall(r"^\| ---", text, re.MULTILINE)) == 4
    assert text.count("±") > 90
    assert "20 simulated sweeps a cell" in text


def test_the_page_holds_the_tables() -> None:
    page = (Path(__file__).parents[2] / "docs" / "statistics.md").read_text(encoding="utf-8")
    assert page.index(BEGIN) < page.index("simulated sweeps a cell") < page.index(END)
    assert "python -m analysis.calibration" in page
