"""The chart of the learning rate by epoch."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from analysis.judge import judge
from analysis.ledger import read_ledger, read_question
from analysis.records import Scalar, TrialRecord
from reports.figures import learning
from reports.labels import Labels
from reports.page import write
from reports.rate_chart import rate_curves, rates, reach
from tests.planted import planted_folder, planted_question, planted_records
from tests.reports.test_browser import opened

if TYPE_CHECKING:
    from playwright.sync_api import Browser

SCHEDULES: tuple[Scalar, ...] = ("Constant", "Cosine")


def at_rates(record: TrialRecord, path: str) -> TrialRecord:
    """The record under a schedule: one that stays, or one that ends at 0."""
    name = record.level["batch_size"]
    history = [{**row, "lr": 0.01 if name == "Constant" else 0.01 * (6 - row["epoch"]) / 5} for row in record.history]
    return replace(record, level={path: name}, point={path: name, "optimizer.lr": 0.01}, history=history)


def planted(folder: Path, path: str = "schedule") -> Path:
    records = [at_rates(record, path) for record in planted_records({name: [0.9, 0.91] * 4 for name in SCHEDULES})]
    question = planted_question([], seeds=8) | {"factors": [{"path": path, "levels": list(SCHEDULES)}]}
    return planted_folder(folder, records, question)


def drawn(folder: Path) -> dict[str, str]:
    """Name and caption of the charts of the learning section."""
    question, records = read_question(folder), read_ledger(folder)
    labels = Labels.of(question, records, judge(question, records))
    return {figure.name: figure.caption for figure in learning(question, records, labels)}


def test_it_is_there_where_schedules_are_compared_and_only_there(tmp_path: Path) -> None:
    assert "schedule at the peak that was found" in drawn(planted(tmp_path / "a"))["rates"]
    assert "rates" not in drawn(planted(tmp_path / "b", "optimizer"))


def test_the_rates_are_those_of_the_longest_final_and_none_is_nothing(tmp_path: Path) -> None:
    records = [r for r in read_ledger(planted(tmp_path)) if r.stage == "final" and r.level["schedule"] == "Cosine"]
    short = replace(records[0], history=records[0].history[:2])
    rows = rates({"Cosine": [short, *records[1:]]})
    # The last epoch's rate is 0, which has no place on a logarithmic axis.
    assert [(row["x"], row["lr"]) for row in rows] == [(e, pytest.approx(0.01 * (6 - e) / 5)) for e in range(1, 6)]


def test_what_is_far_below_the_highest_is_drawn_at_the_lower_end_and_the_caption_says_so(tmp_path: Path) -> None:
    rows = [{"level": "a", "x": x, "lr": lr, "said": ""} for x, lr in ((1, 1e-2), (2, 1e-7))]
    assert reach(rows) == (pytest.approx(1e-5), 1e-2)
    whole = rate_curves(rows, ["a"])(True)
    assert [row["y"] for row in whole["datasets"]["rows"]] == [1e-2, pytest.approx(1e-5)]
    values = whole["layer"][0]["encoding"]["y"]["axis"]["values"]
    assert len(values) <= 8  # no grid of every digit
    assert "thousandth" not in drawn(planted(tmp_path))["rates"]


def test_few_epochs_have_a_dot_each_and_one_rate_has_an_axis() -> None:
    def marks(epochs: int) -> list[str]:
        rows = [{"level": "a", "x": x, "lr": 0.1, "said": ""} for x in range(epochs)]
        return [layer["mark"]["type"] for layer in rate_curves(rows, ["a"])(True)["layer"]]

    assert marks(5) == ["line", "point"]
    assert marks(40) == ["line"]


def test_it_is_drawn(browser: Browser, tmp_path: Path) -> None:
    with opened(browser, write(planted(tmp_path)), width=390) as (page, complaints):
        lines = page.locator('#rates .live path[aria-roledescription="line mark"]')
        assert lines.count() == 2
        assert complaints == []
