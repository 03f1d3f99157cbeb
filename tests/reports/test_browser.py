"""The page in a real browser: strict policy, no network, both widths, with and without JavaScript."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from reports.page import write

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

READY = "html[data-ready]"


@contextmanager
def opened(
    browser: Browser, path: Path, *, width: int = 1400, scripts: bool = True
) -> Iterator[tuple[Page, list[str]]]:
    """The page loaded from its file, and all that it complained about or asked the network for."""
    context = browser.new_context(viewport={"width": width, "height": 900}, java_script_enabled=scripts)
    complaints: list[str] = []
    page = context.new_page()
    page.on("console", lambda message: complaints.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: complaints.append(f"error: {error}"))
    page.on("dialog", lambda dialog: complaints.append(f"dialog: {dialog.message}"))
    page.on("request", lambda request: complaints.append(request.url) if not request.url.startswith("file:") else None)
    page.goto(path.as_uri())
    if scripts:
        page.wait_for_selector(READY, state="attached")
    yield page, complaints
    context.close()


@pytest.fixture(scope="module")
def report(troubled_folder: Path) -> Path:
    return write(troubled_folder)


@pytest.mark.parametrize("width", [1400, 390])
def test_it_draws_its_charts_without_a_complaint_and_fits_the_width(browser: Browser, report: Path, width: int) -> None:
    with opened(browser, report, width=width) as (page, complaints):
        figures = page.locator("figure.chart")
        assert figures.count() == 4
        for number in range(figures.count()):
            drawn = figures.nth(number).locator(".live svg")
            assert drawn.locator("path").count() > 4
            box = drawn.bounding_box()
            assert box is not None
            assert 250 < box["width"] <= width
            assert not figures.nth(number).locator(".stills").is_visible()
        assert page.evaluate("document.documentElement.scrollWidth") == width
        assert complaints == []


@pytest.mark.parametrize(("width", "seen"), [(1400, ".at-desk"), (390, ".at-phone")])
def test_without_javascript_tables_and_still_charts_are_there(
    browser: Browser, report: Path, width: int, seen: str
) -> None:
    with opened(browser, report, width=width, scripts=False) as (page, complaints):
        stills = page.locator(f"figure.chart {seen} svg")
        assert stills.count() == 4
        for number in range(4):
            assert stills.nth(number).is_visible()
        assert page.locator(".still svg:visible").count() == 4  # the other width is not shown too
        assert page.locator("table.levels tbody tr").count() == 6
        assert page.locator("table.levels").is_visible()
        page.locator("summary", has_text="trials").click()
        assert page.locator("table.trials tbody tr:visible").count() == 72
        box = page.locator("main").bounding_box()
        assert box is not None
        assert box["width"] <= width
        assert complaints == []


def test_a_level_picked_in_a_legend_fades_the_others_in_all_charts(browser: Browser, report: Path) -> None:
    with opened(browser, report) as (page, complaints):
        faint = '#curves-epoch .live path[aria-roledescription="line mark"][opacity="0.12"]'
        assert page.locator(faint).count() == 0
        page.locator("#search button.key", has_text="128").click()
        page.wait_for_function("selector => document.querySelectorAll(selector).length === 5", arg=faint)
        assert page.locator('button.key[aria-pressed="true"]').count() == 4
        page.locator("#search button.key", has_text="128").click()
        page.wait_for_function("selector => document.querySelectorAll(selector).length === 0", arg=faint)
        assert complaints == []


def test_hovering_a_curve_tells_its_level(browser: Browser, report: Path) -> None:
    with opened(browser, report) as (page, complaints):
        page.locator("#curves-epoch").scroll_into_view_if_needed()
        point = page.locator('#curves-epoch .live path[aria-roledescription="point"]').last
        point.hover(force=True)
        tooltip = page.locator("#vg-tooltip-element.visible")
        tooltip.wait_for()
        assert "level" in tooltip.inner_text()
        assert "%" in tooltip.inner_text()
        assert complaints == []


def test_trials_sort_by_a_column(browser: Browser, report: Path) -> None:
    with opened(browser, report) as (page, _):
        page.locator("summary", has_text="trials").click()
        head = page.locator("table.trials thead th", has_text="test")
        for direction, better in (("ascending", sorted), ("descending", lambda keys: sorted(keys, reverse=True))):
            head.locator("button").click()
            assert head.get_attribute("aria-sort") == direction
            column = head.evaluate("cell => cell.cellIndex")
            keys = page.eval_on_selector_all(
                "table.trials tbody tr", f"rows => rows.map(row => row.cells[{column}].dataset.key)"
            )
            numbers = [float(key) for key in keys if key]
            assert numbers == better(numbers)


def test_long_names_scroll_in_their_own_box_on_a_phone(browser: Browser, hostile_folder: Path) -> None:
    with opened(browser, write(hostile_folder), width=390) as (page, _):
        assert page.evaluate("document.documentElement.scrollWidth") == 390


def test_text_stays_text(browser: Browser, hostile_folder: Path) -> None:
    with opened(browser, write(hostile_folder)) as (page, complaints):
        assert complaints == []
        assert page.locator("img").count() == 0
        assert page.locator("main style").count() == 0
        assert page.locator(".live svg").count() == 4
        assert "<script>alert(1)</script>" in page.locator("table.levels").inner_text()
        assert page.locator('a[href^="javascript"]').count() == 0


def test_the_dark_page_draws_its_charts_in_the_dark_colours(browser: Browser, report: Path) -> None:
    with opened(browser, report) as (page, _):
        stroke = "getComputedStyle(document.querySelector('#curves-epoch .live path[stroke=\"#0072b2\"]')).stroke"
        light = page.evaluate(stroke)
        page.emulate_media(color_scheme="dark")
        assert light == "rgb(0, 114, 178)"
        assert page.evaluate(stroke) == "rgb(86, 180, 233)"
        page.emulate_media(color_scheme="dark", media="print")
        assert page.evaluate(stroke) == light


def test_print_shows_the_still_charts(browser: Browser, report: Path) -> None:
    with opened(browser, report) as (page, _):
        page.emulate_media(media="print")
        assert page.locator(".at-desk svg:visible").count() == 4
        assert page.locator(".live:visible").count() == 0
