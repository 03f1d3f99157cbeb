"""The section on scaling: what it says, how it is drawn, and that it is there only where workers are compared."""

from __future__ import annotations

import io
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from rich.console import Console

from analysis.colours import LEVELS
from analysis.judge import judge
from analysis.ledger import Question, read_ledger, read_question
from analysis.records import Scalar
from analysis.verdict import Verdict
from reports.console import answer
from reports.labels import Labels
from reports.page import render, write
from reports.scaling import ScalingSection, section
from reports.scaling_chart import ticks
from reports.whisker import axis
from tests.planted import planted_folder, planted_scaling, planted_scaling_question
from tests.reports.test_browser import opened
from tests.reports.test_page import Outline

if TYPE_CHECKING:
    from playwright.sync_api import Browser

GROWING = "PerWorker(samples=128)"
TRUE: dict[tuple[Scalar, int], float] = {
    (256, 1): 1.0,
    (256, 2): 1.62,
    (256, 4): 1.9,
    (GROWING, 1): 0.9,
    (GROWING, 2): 1.6,
    (GROWING, 4): 2.9,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished sweep over numbers of workers."""
    return planted_folder(
        tmp_path_factory.mktemp("scaling") / "p", planted_scaling(TRUE), planted_scaling_question((1, 2, 4))
    )


def read(folder: Path) -> tuple[Question, Verdict, ScalingSection]:
    question, records = read_question(folder), read_ledger(folder)
    verdict = judge(question, records)
    found = section(question, verdict, Labels.of(question, records, verdict))
    assert found is not None
    return question, verdict, found


def test_the_page_says_it_first_and_leaves_out_what_was_not_done(folder: Path) -> None:
    html = write(folder).read_text()
    outline = Outline(html)
    headings = [heading.strip() for heading in outline.headings]
    assert headings[0].startswith("4 workers train 1.")
    assert headings[1:3] == ["Scaling", "The levels"]
    assert "The search" not in headings
    text = outline.text.replace("\u00a0", " ")
    for words in (
        "strong scaling: the same batch is shared by more workers",
        "weak scaling: the batch grows with the workers",
        "Measured on planted CPU, 2 cores, lane crew, 1 thread a worker, one trial at a time.",
        "Oversubscribed: 4 workers have more threads than these 2 cores",
        "the first epoch of each final is left out as warm-up",
        "Energy is not known",
        "conditional on the recipe",
    ):
        assert words in text, words
    for words in ("Tuned point", "Heats", "heats", "Searched", "Energy a sample"):
        assert words not in text, words
    assert len(re.findall(r"<th\b", html)) == len(re.findall(r'<th [^>]*scope="(?:col|row|rowgroup)"', html))


def test_a_level_has_one_name_and_one_colour_on_the_whole_page(folder: Path) -> None:
    question, verdict, found = read(folder)
    labels = Labels.of(question, read_ledger(folder), verdict)
    assert list(labels.order) == [
        f"{b}, {n} worker{'s' * (n > 1)}" for b in ("256 in all", "128 a worker") for n in (1, 2, 4)
    ]
    rows = [row for part in found.parts for row in part.rows]
    assert [row.swatch for row in rows] == [f"c{place}" for place in range(6)]
    drawn = json.loads(found.chart.live)["datasets"]["rows"]
    assert [row["level"] for row in drawn] == list(labels.order)
    points = set(re.findall(r'<path [^>]*fill="(#[0-9a-f]{6})"', found.chart.wide))
    assert set(LEVELS[:6]) <= points
    text = Outline(write(folder).read_text()).text.replace("\u00a0", " ")
    assert "PerWorker" not in text[: text.index("What was asked")]
    assert "each(256, PerWorker(samples=128))" in text  # as the file has it


def test_one_configuration_with_two_names_is_told(tmp_path: Path) -> None:
    both: dict[tuple[Scalar, int], float] = {(256, 1): 1.0, (256, 2): 1.62, (GROWING, 1): 0.9, (GROWING, 2): 1.62}
    twice = planted_folder(tmp_path / "twice", planted_scaling(both), planted_scaling_question())
    _, _, found = read(twice)
    assert "256 in all, 2 workers and 128 a worker, 2 workers are one configuration, run twice" in found.conditions
    assert not any(row.again for part in found.parts for row in part.rows)
    twin, ran = ({"batch_size": batch, "resources.workers": 2} for batch in (GROWING, 256))
    question = planted_scaling_question()
    levels = [{"batch_size": b, "resources.workers": w} for b, w in list(both)[:3]]
    asked = question | {"levels": levels, "equal": [{"level": twin, "run_as": ran}]}
    records = [record for record in planted_scaling(both) if dict(record.level) != twin]
    once = planted_folder(tmp_path / "once", records, asked)
    _, _, found = read(once)
    assert (
        "256 in all and 128 a worker are one configuration with 2 workers: one run stands for both." in found.conditions
    )
    strong, weak = found.parts
    assert [row.again for row in (*strong.rows, *weak.rows)] == [False, False, False, True]
    assert strong.rows[1].swatch == weak.rows[1].swatch
    assert strong.rows[1].throughput == weak.rows[1].throughput
    text = Outline(write(once).read_text()).text
    assert "as above" in text
    assert "Not finished" not in text  # three levels are all there is to run


def test_the_table_holds_the_figures(folder: Path) -> None:
    _, verdict, found = read(folder)
    assert [part.label for part in found.parts] == ["256 in all", "128 a worker"]
    assert [[row.batch for row in part.rows] for part in found.parts] == [["256"] * 3, ["128", "256", "512"]]
    one, two, _ = found.parts[0].rows
    assert (one.speed_up, one.speed_up_interval, one.efficiency) == ("1", "", "100 %")
    assert two.speed_up.startswith("1.6")
    assert f"{two.speed_up} times" not in verdict.answer  # four are faster, and they are named
    assert re.fullmatch(r"\[1\.\d\d, 1\.\d\d\]", two.speed_up_interval)
    assert re.fullmatch(r"8\d %", two.efficiency)
    assert re.fullmatch(r"\[\d\d, \d\d\]", two.efficiency_interval)
    assert (two.memory, two.memory_in_all) == ("402 MB", "804 MB")
    assert two.cpu.endswith(" s")
    assert 'class="dot"' in two.strip


def test_energy_is_shown_where_it_is_known(tmp_path: Path) -> None:
    records = planted_scaling(TRUE, joules=1078 * 6 * 0.25)
    some = [replace(r, cost=replace(r.cost, joules=None)) if r.level["resources.workers"] == 4 else r for r in records]
    folder = planted_folder(tmp_path, some, planted_scaling_question((1, 2, 4)))
    _, _, found = read(folder)
    assert found.energy
    assert [row.joules for row in found.parts[0].rows] == ["0.25 J", "0.25 J", "not known"]
    assert "Energy is not known" not in found.method
    assert "a sample" in Outline(write(folder).read_text()).text


def test_too_few_seeds_give_no_interval_and_other_hardware_no_speed_up(tmp_path: Path) -> None:
    few = planted_folder(tmp_path / "few", planted_scaling(TRUE, seeds=3), planted_scaling_question((1, 2, 4), seeds=3))
    _, _, found = read(few)
    assert found.parts[0].rows[1].speed_up_interval == ""
    assert "There are too few seeds for an interval." in found.method
    assert "%" not in found.chart.caption
    html = write(few).read_text()
    assert "∞" not in Outline(html).text
    assert 'class="bar"' not in html
    text = Outline(html).text
    assert "There are too few seeds for intervals." in text
    assert "At least 6 seeds a level: with fewer, no pattern" in text
    assert "own 95" not in text
    assert "hold together" not in text
    first, *others = planted_scaling(TRUE)
    mixed = [replace(first, hardware="another CPU"), *others]
    _, _, found = read(planted_folder(tmp_path / "mixed", mixed, planted_scaling_question((1, 2, 4))))
    assert found.parts[0].rows[1].speed_up == "–"
    assert "no speed-up is given" in found.conditions


@pytest.mark.parametrize("finals", [0, 1, 2])
def test_a_sweep_that_has_just_begun_is_rendered(tmp_path: Path, finals: int) -> None:
    folder = planted_folder(tmp_path, planted_scaling(TRUE)[:finals], planted_scaling_question((1, 2, 4)))
    text = Outline(write(folder).read_text()).text
    assert f"{finals} of 48 finals are done." in text
    assert ("Scaling" in text) == (finals > 0)


def test_long_names_of_groups_stand_in_a_legend(tmp_path: Path) -> None:
    records = [
        replace(
            record,
            level={
                **record.level,
                "batch_size": f"Batch({record.level['batch_size']})",
                "optimizer": "SGD(momentum=0.9)",
            },
        )
        for record in planted_scaling({(256, 1): 1.0, (256, 2): 1.62})
    ]
    asked = planted_scaling_question()
    factors = [
        {"path": "batch_size", "levels": ["Batch(256)"]},
        {"path": "optimizer", "levels": ["SGD(momentum=0.9)"]},
        {"path": "resources.workers", "levels": [1, 2]},
    ]
    levels = [dict(record.level) for record in records[:2]]
    folder = planted_folder(tmp_path, records, asked | {"factors": factors, "levels": levels})
    _, verdict, found = read(folder)
    assert list(found.legend) == [("●", "256 in all, SGD(momentum=0.9)")]
    assert " at the same batch of 256 (SGD(momentum=0.9)) [" in verdict.answer
    assert "SGD" not in found.chart.wide


@pytest.mark.parametrize(
    ("low", "high"), [(18_000, 41_000), (19_000, 160_000), (0.9, 1.2), (1.0, 5_000_000), (940, 1010)]
)
def test_ticks_are_few_and_inside(low: float, high: float) -> None:
    found = ticks(low, high)
    assert 2 <= len(found) <= 8
    assert all(low <= tick <= high for tick in found)


def test_the_strip_reaches_the_ideal() -> None:
    scale = axis([0.4, 0.5], [(0.38, 0.42)], mark=1.0)
    assert scale is not None
    assert scale.low < 0.38
    assert scale.high > 1.0


@pytest.mark.parametrize("terminal", [False, True])
def test_the_terminal_gets_a_short_table(folder: Path, terminal: bool) -> None:
    _, verdict, _ = read(folder)
    console = Console(file=io.StringIO(), force_terminal=terminal, width=80, legacy_windows=False, _environ={})
    answer(verdict, report=Path("runs/scaling/report.html"), console=console)
    assert isinstance(console.file, io.StringIO)
    shown = re.sub(r"\x1b\[[0-9;]*m", "", console.file.getvalue())
    assert "times as fast" in shown
    assert re.search(r"256 in all +1 +[\d\u202f]+ +1 +100 % +401 MB", shown)
    assert re.search(r"2 +[\d\u202f]+ +1\.6\d \[1\.\d\d, 1\.\d\d\] +8\d % +2 x 402 MB", shown)
    assert "runs/scaling/report.html" in shown


def test_nothing_of_it_is_on_another_sweep_s_page(troubled_folder: Path) -> None:
    question, records = read_question(troubled_folder), read_ledger(troubled_folder)
    html = render(question, records, judge(question, records))
    assert 'id="scaling"' not in html
    assert "Tuned point" in html


@pytest.mark.parametrize("width", [1400, 390])
def test_it_is_drawn_live_and_still_at_both_widths(browser: Browser, folder: Path, width: int) -> None:
    page_file = write(folder)
    with opened(browser, page_file, width=width) as (page, complaints):
        live = page.locator("#scaling-throughput .live svg")
        assert live.is_visible()
        box = live.bounding_box()
        assert box is not None
        assert box["width"] <= width
        assert "128 a worker" in (live.text_content() or "")
        assert page.evaluate("document.documentElement.scrollWidth") == width
        page.locator("button.key").first.click()  # a level picked elsewhere changes nothing here
        assert complaints == []
    with opened(browser, page_file, width=width, scripts=False) as (page, complaints):
        seen = ".at-desk" if width > 600 else ".at-phone"
        assert page.locator(f"#scaling-throughput {seen} svg").is_visible()
        assert page.locator("table.scaling tbody tr").count() == 8
        assert complaints == []
