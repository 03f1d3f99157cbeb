"""The chart of what mattered in the search."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from analysis.importance import importances
from analysis.ledger import read_ledger, read_question
from analysis.records import Stage
from reports.importance_chart import chart
from reports.page import write
from tests.planted import planted_folder, planted_question, planted_record
from tests.reports.test_browser import opened
from tests.reports.test_page import Outline

if TYPE_CHECKING:
    from playwright.sync_api import Browser


def planted(folder: Path, *, number: int = 32, decisive: bool = True, others: int = 2) -> Path:
    """Heats that ran to their end, in which the learning rate decides, or nothing does."""
    generator = np.random.default_rng(4)
    records = []
    for place in range(number):
        lr = float(10 ** generator.uniform(-4, -1.5))
        score = 0.95 + float(0.004 * generator.normal())
        score -= 0.04 * (math.log10(lr) + 3) ** 2 if decisive else 0.0
        record = planted_record(level=16, stage=Stage.HEAT, seed=0, number=place, score=score, lr=lr)
        more = {f"model.widths.{i}": float(generator.uniform(0.1, 1)) for i in range(others)}
        records.append(replace(record, point={**record.point, **more}))
    for seed in range(1, 9):
        final = planted_record(level=16, stage=Stage.FINAL, seed=seed, number=number + seed, score=0.95)
        records.append(replace(final, point=records[0].point))
    return planted_folder(folder, records, planted_question([16], seeds=8) | {"trials": number})


def test_the_page_tells_what_mattered_how_surely_and_how_that_is_known(tmp_path: Path) -> None:
    folder = planted(tmp_path)
    text = Outline(write(folder).read_text()).text.replace("\u00a0", " ")
    for words in (
        "What mattered",
        "Strong: shown to matter; pale: not shown; no bar: it adds nothing.",
        "Leave-one-covariate-out over a kernel regression, 95 % intervals from 2000 bootstrap draws",
        "at epoch 6, the last that all 32 heats reached",
        "(p = 0.001).",
    ):
        assert words in text, words
    found = importances(read_question(folder), read_ledger(folder))
    assert found is not None
    drawn = json.loads(chart(found).live)
    rows = drawn["datasets"]["rows"]
    assert (rows[0]["name"], rows[0]["shown"]) == ("lr", True)
    assert {row["name"] for row in rows[1:]} == {"widths 0", "widths 1"}
    assert all(row["low"] <= row["bar"] <= row["high"] for row in rows if row["bar"] > 0)
    assert all(row["bar"] >= 0 for row in rows)
    assert rows[0]["said"].startswith(f"{round(100 * rows[0]['bar'])} % [")


def test_where_nothing_decides_it_says_so(tmp_path: Path) -> None:
    text = Outline(write(planted(tmp_path, decisive=False)).read_text()).text
    assert "no more than chance would (p = 0." in text
    assert "so none is shown to matter" in text


@pytest.mark.parametrize(("number", "others"), [(9, 2), (32, 0)])
def test_of_few_heats_or_one_setting_there_is_no_chart(tmp_path: Path, number: int, others: int) -> None:
    assert 'id="importance"' not in write(planted(tmp_path, number=number, others=others)).read_text()


@pytest.mark.parametrize("width", [1400, 390])
def test_it_is_drawn_and_no_heat_stopped_is_no_complaint(browser: Browser, tmp_path: Path, width: int) -> None:
    with opened(browser, write(planted(tmp_path)), width=width) as (page, complaints):
        drawn = page.locator("#importance .live svg")
        assert drawn.is_visible()
        assert drawn.locator('path[aria-roledescription="bar"]').count() == 3
        box = drawn.bounding_box()
        assert box is not None
        assert box["height"] < 260  # no taller than its bars need
        assert page.evaluate("document.documentElement.scrollWidth") == width
        assert complaints == []
