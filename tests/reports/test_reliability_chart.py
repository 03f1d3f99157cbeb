"""The reliability diagram, as a picture and on the page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from analysis.colours import LEVELS
from reports.page import write as render
from reports.reliability_chart import Point, drawn, merged, read, write
from tests.planted import planted_folder, planted_question, planted_records
from tests.reports.conftest import six_levels
from tests.reports.test_browser import opened
from tests.reports.test_page import Outline

if TYPE_CHECKING:
    from playwright.sync_api import Browser

GROUPS = {
    "one member": [Point(confidence=0.35, accuracy=0.5, low=0.31, high=0.7, count=12)],
    "together": [Point(confidence=0.97, accuracy=0.99, low=0.95, high=1.0, count=300)],
}
SCORES = {"accuracy": 0.955, "nll": 0.161, "brier": 0.071, "calibration_error": 0.031}
NUMBERS = {
    "level": "64",
    "left_out": 7,
    "samples": 312,
    "confidence": 0.95,
    "members": [SCORES, SCORES, SCORES],
    "mean": SCORES,
    "ensemble": SCORES | {"accuracy": 0.967},
    "accuracy": {"value": 0.967, "low": 0.942, "high": 0.981},
    "accuracy_gain": {"value": 0.012, "low": -0.003, "high": 0.022},
    "temperature": 0.85,
    "scaled": SCORES | {"calibration_error": 0.026},
}


def point(confidence: float, accuracy: float, count: int) -> Point:
    return Point(confidence=confidence, accuracy=accuracy, low=0.0, high=1.0, count=count)


def test_every_group_is_shownin_its_colour_with_its_interval() -> None:
    whole = drawn(GROUPS, title="whose")
    assert whole["title"]["text"] == "whose"
    rows = whole["datasets"]["rows"]
    assert [(row["level"], row["confidence"], row["low"], row["high"]) for row in rows] == [
        ("one member", 0.35, 0.31, 0.7),
        ("together", 0.97, 0.95, 1.0),
    ]
    # The axes begin at a round value below all that is shown, and both are alike: the diagonal is one.
    assert [row["confidence"] for row in whole["datasets"]["diagonal"]] == [0.3, 1.0]
    layers = whole["layer"]
    scales = [layer["encoding"][axis]["scale"]["domain"] for layer in layers for axis in ("x", "y")]
    assert scales == [[0.3, 1.0]] * len(scales)
    assert len(layers) == 2 + 2 * len(GROUPS)
    colours = layers[-1]["encoding"]["color"]["scale"]
    assert colours["domain"] == list(GROUPS)
    assert len(set(colours["range"])) == 2


def test_bins_of_few_samples_become_one_and_keep_their_means() -> None:
    bins = [point(0.35, 1.0, 2), point(0.45, 0.5, 4), point(0.55, 0.5, 6), point(0.85, 0.9, 30), point(0.99, 1.0, 3)]
    low, high = merged(bins[::-1])
    assert (low.count, high.count) == (12, 33)
    assert low.confidence == pytest.approx((2 * 0.35 + 4 * 0.45 + 6 * 0.55) / 12)
    assert low.accuracy == pytest.approx(7 / 12)
    # Wilson's interval of 7 of 12, from a table.
    assert (low.low, low.high) == (pytest.approx(0.3195, abs=1e-4), pytest.approx(0.8067, abs=1e-4))
    assert high.accuracy == pytest.approx((30 * 0.9 + 3) / 33)
    assert merged([point(0.9, 1.0, 3)]) == [point(0.9, 1.0, 3)]
    assert merged([]) == []


def test_it_is_a_picture_with_its_points_beside_it(tmp_path: Path) -> None:
    write(tmp_path / "reliability.png", GROUPS, title="whose")
    assert (tmp_path / "reliability.png").read_bytes().startswith(b"\x89PNG")
    assert read(tmp_path / "reliability.png") == GROUPS
    assert read(tmp_path / "other.png") is None
    (tmp_path / "reliability.json").write_text('{"together": [{"confidence": 1}]}')
    assert read(tmp_path / "reliability.png") is None


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A finished sweep for which an ensemble was built."""
    records = planted_records({32: six_levels()[32], 64: six_levels()[64]})
    found = planted_folder(tmp_path / "p", records, planted_question([32, 64], seeds=8))
    (found / "ensemble.json").write_text(json.dumps(NUMBERS))
    write(found / "reliability.png", {**GROUPS, "together, scaled": GROUPS["together"]}, title="whose")
    return found


def test_the_page_says_what_the_members_reach_together(folder: Path) -> None:
    text = Outline(render(folder).read_text()).text.replace("\u00a0", " ")
    for words in (
        "3 members of 64 together reach 96.7 % [94.2, 98.1] accuracy, one alone 95.5 % on average: "
        "+1.2 points [−0.3, 2.2], which can be chance.",
        "On 312 test samples",
        "7 that some member had seen are left out",
        "by the temperature 0.85",
        "Grey: one member; circles: together, diamonds: together, scaled",
        "together, scaled 95.5 % 0.161 0.071 0.026",
    ):
        assert words in text, words


def test_without_its_points_there_is_no_chart_and_without_its_numbers_no_section(folder: Path) -> None:
    (folder / "reliability.json").unlink()
    html = render(folder).read_text()
    assert 'id="ensemble"' in html
    assert 'id="reliability"' not in html
    (folder / "ensemble.json").write_text("{}")
    assert 'id="ensemble"' not in render(folder).read_text()


@pytest.mark.parametrize("width", [1400, 390])
def test_it_is_shownin_the_colour_of_its_level(browser: Browser, folder: Path, width: int) -> None:
    with opened(browser, render(folder), width=width) as (page, complaints):
        shown = page.locator("#reliability .live svg")
        assert shown.is_visible()
        assert shown.locator(f'path[fill="{LEVELS[1]}"]').count() == 2  # 64 is the second level
        assert page.evaluate("document.documentElement.scrollWidth") == width
        assert complaints == []
