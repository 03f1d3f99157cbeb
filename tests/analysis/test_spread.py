"""The spread of runs and whose it is: on planted scores, by definition, and how often its intervals hold the truth."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from analysis.calibration import Noise, exponential, normal, small_test_set
from analysis.judge import judge
from analysis.ledger import Question, read_question
from analysis.records import Status, TrialRecord
from analysis.spread import COUNTS, FEWEST, SpreadGroup, interval, variances
from analysis.spread_calibration import BEGIN, END, Planted, deviations, main, shares
from analysis.tracking_note import note
from analysis.verdict import Verdict
from tests.planted import SOURCES, planted_folder, planted_spread, planted_spread_question

SWEEPS = 3_000


def asked(folder: Path, seeds: int = 16, levels: Sequence[str] = SOURCES) -> Question:
    return read_question(planted_folder(folder, [], planted_spread_question(seeds, levels)))


def judged(folder: Path, records: Sequence[TrialRecord], seeds: int = 16, levels: Sequence[str] = SOURCES) -> Verdict:
    return judge(asked(folder, seeds, levels), records)


def group(verdict: Verdict) -> SpreadGroup:
    assert verdict.spread is not None
    (found,) = verdict.spread.groups
    return found


@pytest.mark.parametrize(
    ("noise", "seeds", "least"),
    [
        (normal, 6, 0.93),
        (normal, 16, 0.93),
        (normal, 64, 0.93),
        (small_test_set, 64, 0.925),
        (exponential, 16, 0.82),
        (exponential, 64, 0.87),
    ],
)
def test_a_standard_deviation_is_covered(noise: Noise, seeds: int, least: float) -> None:
    held = deviations(noise, seeds=seeds, sweeps=SWEEPS)
    assert least < held.jackknife < 0.97
    if noise is exponential:
        assert held.chi_square < held.jackknife - 0.05  # which is why it is not taken


@pytest.mark.parametrize("noise", [normal, exponential])
@pytest.mark.parametrize("luck", [0.0, 2.0])
def test_shares_and_their_sum_are_covered(noise: Noise, luck: float) -> None:
    share, together = shares(Planted(noise=noise, sds=(3.0, 1.0, 1.0), luck=luck), seeds=64, sweeps=SWEEPS)
    assert 0.91 < share < 0.97
    assert 0.91 < together < 0.97


def test_variances_are_those_of_numpy_with_and_without_each_seed() -> None:
    scores = np.random.default_rng(0).normal(0.9, 0.01, (3, 9))
    found, left = variances(scores)
    assert found == pytest.approx(scores.var(-1, ddof=1))
    for seed in range(9):
        assert left[:, seed] == pytest.approx(np.delete(scores, seed, axis=1).var(-1, ddof=1))


def test_the_interval_is_the_jackknife_s() -> None:
    """Against Miller's definition written out, on logarithms of variances."""
    from scipy.stats import t

    scores = np.random.default_rng(1).normal(0, 2, 12)
    logs = [math.log(np.delete(scores, seed).var(ddof=1)) for seed in range(12)]
    pseudo = [12 * math.log(scores.var(ddof=1)) - 11 * log for log in logs]
    reach = t.ppf(0.975, 11) * np.std(pseudo, ddof=1) / math.sqrt(12)
    ends = interval(math.log(scores.var(ddof=1)), np.array(logs), alpha=0.05)
    assert ends == pytest.approx((math.exp(np.mean(pseudo) - reach), math.exp(np.mean(pseudo) + reach)))


def test_a_mean_s_error_is_told_only_where_all_that_a_seed_can_draw_is_drawn(tmp_path: Path) -> None:
    """What is held would be missing in it."""
    records = [record for record in planted_spread(seeds=64) if record.level["vary"] == "init"]
    found = group(judged(tmp_path / "a", records, 64, levels=["init"]))
    assert found.whole is not None
    assert found.whole.label == "initialisation"
    assert found.errors == []
    assert len(group(judged(tmp_path / "b", planted_spread(seeds=64), 64)).errors) == len(COUNTS)


def test_planted_sources_are_found_with_shares_that_add_up(tmp_path: Path) -> None:
    verdict = judged(tmp_path, planted_spread(seeds=64), 64)
    found = group(verdict)
    assert found.whole is not None
    assert [source.label for source in found.all] == ["all three", "split", "initialisation", "data order"]
    for source, true in zip(found.all, (math.sqrt(0.005**2 + 0.003**2 + 0.012**2), 0.012, 0.005, 0.003), strict=True):
        low, high = source.interval or (None, None)
        assert low is not None
        assert high is not None
        assert low < true < high
    for source, true in zip(found.sources, (144, 25, 9), strict=True):
        low, high = source.share_interval or (None, None)
        assert low is not None
        assert high is not None
        assert low < true / 178 < high
    low, high = found.together_interval or (None, None)
    assert low is not None
    assert high is not None
    assert low < 1 < high
    assert [(error.seeds, error.value) for error in found.errors] == [
        (n, pytest.approx((found.whole.sd or 0) / math.sqrt(n))) for n in COUNTS
    ]
    assert re.fullmatch(
        r"Of the spread of test accuracy, 1\.\d points \[1\.\d, 1\.\d\] \(standard deviation over 64 seeds\), "
        r"the split alone gives 1\.\d points \[.*\], initialisation 0\.5\d? \[.*\] and data order 0\.3\d? \[.*\]; "
        r"their variances add up to \d+ % of that \[\d+, \d+\]; a mean over 8 seeds has a standard error of 0\.\d+ points \[.*\]\.",
        verdict.answer,
    )


def test_pairing_makes_the_share_sharper_than_two_samples_would(tmp_path: Path) -> None:
    """Seed 3 draws the same split in two levels: what they have in common is used."""
    records = planted_spread(seeds=64)
    turned = [
        replace(record, seed=65 - record.seed) if record.level == {"vary": "split"} else record for record in records
    ]
    widths = []
    for number, these in enumerate((records, turned)):
        low, high = group(judged(tmp_path / str(number), these, 64)).sources[0].share_interval or (None, None)
        assert low is not None
        assert high is not None
        widths.append(math.log(high / low))
    assert widths[0] < 0.6 * widths[1]


def test_luck_that_every_run_draws_anew_is_said_to_overlap(tmp_path: Path) -> None:
    verdict = judged(tmp_path, planted_spread((0.002, 0.002, 0.002), seeds=64, luck=0.01), 64)
    low, _ = group(verdict).together_interval or (None, None)
    assert low is not None
    assert low > 1
    assert ", so they overlap: what one draws changes what the others do;" in verdict.answer


def test_means_of_levels_that_draw_different_things_are_not_compared(tmp_path: Path) -> None:
    verdict = judged(tmp_path, planted_spread())
    assert verdict.comparisons == []
    assert {level.rank_group for level in verdict.levels} == {1}
    assert [level.label for level in verdict.levels] == ["initialisation", "data order", "split", "all three"]
    assert "best" not in verdict.answer
    assert "jackknife" in verdict.method
    assert "not distinguishable" not in note(asked(tmp_path), verdict, page="report.html")
    assert verdict.needs.seeds is not None
    assert verdict.needs.seeds > 64


def test_few_seeds_have_no_interval_and_the_answer_says_so(tmp_path: Path) -> None:
    for seeds in (1, 2, 3, FEWEST - 1):
        verdict = judged(tmp_path / str(seeds), planted_spread(seeds=seeds), seeds)
        assert all(source.interval is None for source in group(verdict).all)
        assert "standard error" not in verdict.answer
        assert "[" not in verdict.answer
        assert verdict.needs.seeds == FEWEST
        if seeds > 1:
            assert f"{seeds} seeds give no interval, which takes at least 6" in verdict.answer
    verdict = judged(tmp_path / "enough", planted_spread(seeds=FEWEST), FEWEST)
    assert all(source.interval is not None for source in group(verdict).all)
    assert "standard error" in verdict.answer


def test_a_source_that_changes_nothing_has_no_interval(tmp_path: Path) -> None:
    verdict = judged(tmp_path, planted_spread((0.0, 0.003, 0.012)))
    still = next(source for source in group(verdict).sources if source.label == "initialisation")
    assert (still.sd, still.interval, still.share) == (0.0, None, 0.0)
    assert "initialisation 0.0;" in verdict.answer
    nothing = judged(tmp_path / "nothing", planted_spread((0.0, 0.0, 0.0)))
    assert group(nothing).together is None
    assert "0.0 points (standard deviation" in nothing.answer


def test_a_level_with_a_diverged_final_has_no_spread_and_is_named(tmp_path: Path) -> None:
    verdict = judged(tmp_path, planted_spread(diverged=[("init", 3)]))
    assert [source.label for source in group(verdict).all] == ["all three", "split", "data order"]
    assert group(verdict).together is None
    assert "initialisation diverged in 1 of 16 finals" in verdict.answer


def test_a_seed_that_one_level_lost_counts_for_none(tmp_path: Path) -> None:
    records = planted_spread()
    lost = [replace(r, status=Status.FAILED) if (r.seed, r.level["vary"]) == (5, "order") else r for r in records]
    found = group(judged(tmp_path, lost))
    assert found.seeds == 15
    assert {len(scores) for scores in found.scores.values()} == {15}


def test_without_a_level_that_draws_everything_there_are_no_shares(tmp_path: Path) -> None:
    levels = ("init", "split")
    verdict = judged(tmp_path, planted_spread(levels=levels), levels=levels)
    found = group(verdict)
    assert (found.whole, found.together, found.errors) == (None, None, [])
    assert verdict.answer.startswith(
        "Test accuracy spreads (standard deviation over 16 seeds) with the split alone by 1."
    )


def test_recipes_that_are_compared_beside_it_each_have_their_spread(tmp_path: Path) -> None:
    records = [
        replace(record, id=f"{record.id}-{size}", level=place, point=place)
        for record in planted_spread()
        for size in (16, 64)
        for place in [{"batch_size": size, **record.level}]
    ]
    asked_for = planted_spread_question() | {
        "factors": [{"path": "batch_size", "levels": [16, 64]}, {"path": "vary", "levels": list(SOURCES)}],
        "levels": [{"batch_size": size, "vary": source} for size in (16, 64) for source in SOURCES],
    }
    verdict = judge(read_question(planted_folder(tmp_path, [], asked_for)), records)
    assert verdict.spread is not None
    assert [found.at for found in verdict.spread.groups] == ["batch size 16", "batch size 64"]
    assert verdict.answer.startswith("Of the spread of test accuracy at batch size 16, 1.")
    assert "; at batch size 64 it is 1." in verdict.answer


def test_nothing_of_it_in_any_other_sweep(tmp_path: Path) -> None:
    question = asked(tmp_path, levels=["init"])
    other = replace(question, factors={"batch_size": (16,)}, raw={})
    assert judge(other, []).spread is None


def test_the_page_of_statistics_has_the_command_s_tables(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    assert main(["--sweeps", "20", "--write", str(page)]) == 0
    text = page.read_text()
    assert "old" not in text
    assert text.count("| jackknife |") == 5
    documented = (Path(__file__).resolve().parents[2] / "docs" / "statistics.md").read_text()
    heads = [line for line in text.splitlines() if line.startswith(("| noise", "| sources"))]
    assert all(head in documented for head in heads)
