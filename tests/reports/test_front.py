"""The section on two goals: chart, table and words, on a planted sweep."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from analysis.judge import judge
from analysis.ledger import read_ledger, read_question
from analysis.records import Stage, Status, TrialRecord
from reports.front import FrontSection, named, section
from reports.labels import Labels
from reports.page import write
from tests.planted import planted_folder, planted_question, planted_record
from tests.reports.test_browser import opened
from tests.reports.test_page import Outline

if TYPE_CHECKING:
    from playwright.sync_api import Browser

ALSO = {"metric": "cpu_seconds", "mode": "min", "within": 0.005}


def heats(level: int, number: int, *, first: int = 0, stopped: Sequence[int] = ()) -> list[TrialRecord]:
    """Heats of which wider ones cost more and reach a little more, spoilt by noise of one side."""
    generator = np.random.default_rng(level)
    found = []
    for place in range(number):
        width = float(np.exp(generator.uniform(math.log(16), math.log(256))))
        score = 0.94 + 0.03 * (1 - math.exp(-width / 60)) - 0.02 * generator.random() ** 2
        record = planted_record(
            level=level,
            stage=Stage.HEAT,
            seed=0,
            number=first + place,
            score=score,
            lr=float(10 ** generator.uniform(-4, -1.5)),
            status=Status.STOPPED if place in stopped else Status.COMPLETED,
        )
        point = {**record.point, "model.widths.0": round(width)}
        cost = 0.4 + 0.01 * width * generator.uniform(0.9, 1.1)
        found.append(replace(record, point=point, cost=replace(record.cost, cpu_seconds=cost)))
    return found


def planted(folder: Path, *, also: dict[str, Any] | None = ALSO, levels: Sequence[int] = (16, 64)) -> Path:
    """Twenty heats a level, three of them stopped, and eight finals of the point that the rule takes."""
    records: list[TrialRecord] = []
    for level in levels:
        own = heats(level, 20, first=len(records), stopped=(3, 7, 11))
        done = [record for record in own if record.status is Status.COMPLETED]
        best = max(record.metrics["val/accuracy"] for record in done)
        close = [record for record in done if record.metrics["val/accuracy"] >= best - 0.005]
        chosen = min(close, key=lambda record: record.cost.cpu_seconds or 0.0)
        records += own
        for seed in range(1, 9):
            final = planted_record(
                level=level, stage=Stage.FINAL, seed=seed, number=len(records), score=0.95 + seed / 1000
            )
            records.append(replace(final, point=chosen.point))
    return planted_folder(folder, records, planted_question(list(levels), seeds=8) | {"also": also, "trials": 20})


def read(folder: Path) -> FrontSection | None:
    question, records = read_question(folder), read_ledger(folder)
    return section(question, records, Labels.of(question, records, judge(question, records)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return planted(tmp_path_factory.mktemp("front") / "p")


def test_the_chart_holds_the_front_and_what_lies_behind_it(folder: Path) -> None:
    found = read(folder)
    assert found is not None
    rows = json.loads(found.chart.live)["datasets"]["rows"]
    assert len(rows) == 34  # those that were stopped are not among them
    for level in ("16", "64"):
        own = [row for row in rows if row["level"] == level]
        front = [row for row in own if row["front"]]
        for row in own:
            beaten = any(o["y"] >= row["y"] and o["x"] <= row["x"] and o is not row for o in own)
            assert row["front"] is not beaten
        assert 1 < len(front) < len(own)
        (ringed,) = [row for row in own if row["chosen"]]
        best = max(row["y"] for row in own)
        close = [row for row in own if row["y"] >= best - 0.005]
        assert ringed["x"] == min(row["x"] for row in close)
        assert ringed["front"]
        assert all("too far from the best" in row["how"] for row in own if row not in close)
        assert all(row["how"].startswith("dominated") is not row["front"] for row in own)
    assert len(found.rows) == sum(row["front"] for row in rows)
    assert [row.remark for row in found.rows].count("went to the finals") == 2


def test_the_words_say_what_is_dominated_and_how_the_finals_were_chosen(folder: Path) -> None:
    text = Outline(write(folder).read_text()).text.replace("\u00a0", " ")
    for words in (
        "Second goal lowest CPU seconds",
        "Two goals Validation accuracy against CPU seconds",
        "Full and joined: the front,",
        "Pale: dominated,",
        "lowest in CPU seconds among the heats at most 0.5 points worse than the best in validation accuracy",
        "Left out: 6 stopped early",
        "second goal lowest CPU seconds, among the heats at most 0.5 points worse",
    ):
        assert words in text, words
    assert re.search(r"its point was chosen for its CPU seconds|its point has the best validation accuracy", text)


def test_there_is_none_without_a_second_goal_or_without_a_value(tmp_path: Path) -> None:
    assert read(planted(tmp_path / "without", also=None)) is None
    assert named(read_question(tmp_path / "without")) is None
    assert 'id="goals"' not in write(tmp_path / "without").read_text()
    assert read(planted(tmp_path / "unknown", also={**ALSO, "metric": "gpu_seconds"})) is None
    assert "Second goal" in Outline(write(tmp_path / "unknown").read_text()).text


@pytest.mark.parametrize(
    ("also", "said"),
    [
        ({"metric": "loss", "mode": "min", "within": 0.0}, "lowest loss, where heats tie in validation accuracy"),
        ({"metric": "loss", "mode": "max", "within": 0.01}, "highest loss, among the heats at most 1 point worse"),
    ],
)
def test_another_second_goal_has_its_own_words(tmp_path: Path, also: dict[str, Any], said: str) -> None:
    folder = planted(tmp_path, also=also, levels=(16,))
    found = named(read_question(folder))
    assert found is not None
    assert found[1].startswith(said)
    drawn = read(folder)
    assert drawn is not None
    assert drawn.chart.legend == []
    assert ("step-after" in drawn.chart.live) is (also["mode"] == "min")


@pytest.mark.parametrize("width", [1400, 390])
def test_it_is_drawn_at_both_widths(browser: Browser, folder: Path, width: int) -> None:
    with opened(browser, write(folder), width=width) as (page, complaints):
        drawn = page.locator("#front .live svg")
        assert drawn.is_visible()
        assert drawn.locator('path[aria-roledescription="line mark"]').count() == 2
        assert page.locator("table.front tbody tr").count() > 4
        assert page.evaluate("document.documentElement.scrollWidth") == width
        assert complaints == []
