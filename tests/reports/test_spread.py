"""The section on how far runs spread: what it says, how it is drawn, and that it is there only where sources are compared."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from analysis.judge import judge
from analysis.ledger import read_ledger, read_question
from reports.labels import Labels
from reports.page import render, write
from reports.spread import SpreadSection, section
from tests.planted import planted_folder, planted_spread, planted_spread_question
from tests.reports.test_browser import opened
from tests.reports.test_page import Outline

if TYPE_CHECKING:
    from playwright.sync_api import Browser


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixteen finals of each source, whose spreads are known."""
    return planted_folder(tmp_path_factory.mktemp("spread") / "seeds", planted_spread(), planted_spread_question())


def read(folder: Path) -> SpreadSection:
    question, records = read_question(folder), read_ledger(folder)
    verdict = judge(question, records)
    found = section(verdict, Labels.of(question, records, verdict))
    assert found is not None
    return found


def drawn(found: SpreadSection) -> dict[str, list[dict[str, Any]]]:
    datasets: dict[str, list[dict[str, Any]]] = json.loads(found.chart.live)["datasets"]
    return datasets


def test_every_source_is_said_with_its_interval_and_its_share(folder: Path) -> None:
    found = read(folder)
    (part,) = found.parts
    assert [row.label for row in part.rows] == ["all three", "split", "initialisation", "data order"]
    assert len({row.swatch for row in part.rows}) == 4
    verdict = judge(read_question(folder), read_ledger(folder))
    for row in part.rows:
        bare = row.sd.removesuffix(" points")
        assert f"{bare}{' points' if f'{bare} points' in verdict.answer else ''} {row.interval}" in verdict.answer
        assert 'class="bar"' in row.strip
    assert part.rows[0].share == "100 %"
    assert all(row.share_interval.startswith("[") for row in part.rows[1:])
    assert f"add up to {part.together} of that {part.together_interval}" in verdict.answer
    assert "nothing shows that they act on one another" in found.note
    assert [text.count(" seeds ") for text in found.means] == [3]


def test_a_dot_for_every_final_stands_at_its_distance_from_the_mean(folder: Path) -> None:
    found = drawn(read(folder))
    scores = [r.metrics["test/accuracy"] for r in read_ledger(folder) if r.level == {"vary": "split"}]
    mean = sum(scores) / len(scores)
    rows = [row for row in found["rows"] if row["level"] == "split"]
    assert sorted(row["x"] for row in rows) == pytest.approx(sorted(100 * (score - mean) for score in scores))
    assert len(found["rows"]) == 64
    (bar,) = [bar for bar in found["bars"] if bar["level"] == "split"]
    assert bar["low"] < bar["sd"] < bar["high"]
    assert bar["minus_sd"] == -bar["sd"]


def test_dots_at_one_place_are_stacked_and_scores_that_never_tie_are_binned(tmp_path: Path) -> None:
    records = planted_spread(seeds=64)
    found = drawn(read(planted_folder(tmp_path, records, planted_spread_question(64))))
    rows = [row for row in found["rows"] if row["level"] == "split"]
    assert len({(row["x"], row["y"]) for row in rows}) == 64
    assert len({row["x"] for row in rows}) < 60


def test_few_seeds_have_no_interval_and_no_shade(tmp_path: Path) -> None:
    found = read(planted_folder(tmp_path, planted_spread(seeds=3), planted_spread_question(3)))
    assert "There are too few seeds for intervals, which take 6." in found.note
    assert "shaded" not in found.chart.caption
    assert found.means == []
    assert all(row.interval == "" and 'class="bar"' not in row.strip for row in found.parts[0].rows)
    text = Outline(write(tmp_path).read_text()).text
    assert "At least 6 seeds a level: with fewer, a standard deviation has no interval" in text


@pytest.mark.parametrize("finals", [0, 1, 4, 5, 8])
def test_a_sweep_that_has_just_begun_is_rendered(tmp_path: Path, finals: int) -> None:
    folder = planted_folder(tmp_path, planted_spread()[:finals], planted_spread_question())
    text = Outline(write(folder).read_text()).text
    assert f"{finals} of 64 finals are done." in text
    assert ("Every final" in text) == (finals == 8)


def test_the_page_ranks_nothing_and_draws_in_both_widths(browser: Browser, folder: Path) -> None:
    page_file = write(folder)
    text = Outline(page_file.read_text()).text
    assert "The spread" in text
    assert "Rank" not in text
    assert "Differences from" not in text
    assert "are not compared" in text
    for width in (1400, 390):
        with opened(browser, page_file, width=width) as (page, complaints):
            live = page.locator("#spread-runs .live svg")
            assert live.is_visible()
            shown = live.text_content() or ""
            assert "initialisation" in shown
            assert "points from the mean" in shown
            assert page.evaluate("document.documentElement.scrollWidth") == width
            page.locator("button.key").first.click()  # a level picked below fades the others here
            assert complaints == []
        with opened(browser, page_file, width=width, scripts=False) as (page, complaints):
            seen = ".at-desk" if width > 600 else ".at-phone"
            assert page.locator(f"#spread-runs {seen} svg").is_visible()
            assert page.locator("table.spread tbody tr").count() == 5
            assert complaints == []


def test_nothing_of_it_is_on_another_sweep_s_page(troubled_folder: Path) -> None:
    question, records = read_question(troubled_folder), read_ledger(troubled_folder)
    html = render(question, records, judge(question, records))
    assert 'id="spread"' not in html
    assert "Levels that share a rank" in html
