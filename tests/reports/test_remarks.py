"""What the page says of a search that was cut short, and of points at the ends of their ranges."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from analysis.judge import judge
from analysis.ledger import read_ledger, read_question
from analysis.records import Stage
from reports.facts import searched
from reports.page import write
from reports.remarks import remarks
from tests.planted import planted_folder, planted_question, planted_records
from tests.reports.conftest import six_levels
from tests.reports.test_page import Outline

BUDGET = {"by": "epochs", "epochs": 6, "seconds": 60.0}


def said(
    folder: Path, *, there: tuple[int, int] = (4, 4), lr: float = 1e-3, finals: bool = True, **asked: Any
) -> list[str]:
    """The remarks on two levels with so many heats each, tuned to a learning rate."""
    levels = (16, 64)
    records = []
    for level, number in zip(levels, there, strict=True):
        own = planted_records({level: six_levels()[level]}, heats=number)
        tuned = [replace(r, point={**r.point, "optimizer.lr": lr}) if r.stage is Stage.FINAL else r for r in own]
        records += [replace(r, id=f"{level}-{r.id}") for r in tuned if finals or r.stage is Stage.HEAT]
    planted_folder(folder, records, planted_question(levels, seeds=8) | asked)
    question, known = read_question(folder), read_ledger(folder)
    return remarks(question, judge(question, known), known)


def test_a_search_that_the_budget_closed_is_told_on_the_page(tmp_path: Path) -> None:
    assert said(tmp_path, there=(2, 3), budget=BUDGET) == [
        "The budget closed the search at 2 to 3 of 4 heats a level: "
        "without it the rest is run, and a level may have a better point."
    ]
    assert "The budget closed the search at 2 to 3 of 4 heats" in Outline(write(tmp_path).read_text()).text


@pytest.mark.parametrize(
    ("there", "asked", "words"),
    [
        ((2, 2), {"budget": BUDGET}, "at 2 of 4 heats a level:"),
        ((2, 3), {"budget": BUDGET, "heats": [2, 4]}, "at 5 of 6 heats:"),
        ((2, 4), {"budget": BUDGET, "heats": [2, 4]}, None),  # all that the levels were to have
        ((2, 3), {"budget": BUDGET, "cut_short": False}, None),  # two asked for the same point, say
        ((4, 4), {"budget": BUDGET}, None),
        ((2, 3), {"budget": {"by": "epochs", "seconds": None}}, None),
        ((2, 3), {"budget": None}, None),
        ((2, 3), {"budget": BUDGET, "trials": None}, None),
        ((2, 3), {"budget": BUDGET, "finals": False}, None),  # the search may still go on
    ],
)
def test_it_is_told_only_where_the_budget_did_it(
    tmp_path: Path, there: tuple[int, int], asked: dict[str, Any], words: str | None
) -> None:
    found = said(tmp_path, there=there, **asked)
    assert len(found) == (words is not None)
    assert words is None or words in found[0]


def test_ranges_that_differ_by_level_are_all_told(tmp_path: Path) -> None:
    spaces = [
        {"optimizer.lr": "log_uniform(0.0001, 0.03)", "z": "uniform(0, 1)"},
        {"optimizer.lr": "log_uniform(0.01, 1)"},
    ]
    said(tmp_path, spaces=spaces)
    assert searched(read_question(tmp_path))[:2] == [
        ("optimizer.lr", "log_uniform(0.0001, 0.03) or log_uniform(0.01, 1), by level"),
        ("z", "uniform(0, 1)"),
    ]


def test_a_point_at_the_end_of_its_range_is_told_on_the_page(tmp_path: Path) -> None:
    assert said(tmp_path, lr=0.0299) == [
        "optimizer.lr is tuned to the upper end of log_uniform(0.0001, 0.03) at 2 of 2 levels (64, 16): "
        "a wider range may hold a better point."
    ]
    assert "tuned to the upper end of log_uniform" in Outline(write(tmp_path).read_text()).text
    assert said(tmp_path / "inside") == []
    assert 'class="remarks"' not in write(tmp_path / "inside").read_text()


def test_finals_of_several_versions_of_the_code_are_told_on_the_page_and_in_the_verdict(tmp_path: Path) -> None:
    records = planted_records({level: six_levels()[level] for level in (16, 64)}, heats=2)
    changed = [replace(r, source="new" if r.seed > 6 else "old") if r.stage is Stage.FINAL else r for r in records]
    for name, known in (("one", records), ("two", changed)):
        folder = planted_folder(tmp_path / name, known, planted_question((16, 64), seeds=8))
        found = Outline(write(folder).read_text()).text
        assert ("The code was changed between the finals: 12 by old and 4 by new" in found) == (name == "two")
        verdict = judge(read_question(folder), read_ledger(folder))
        assert len(verdict.sources) == (2 if name == "two" else 1)
    assert verdict.to_json()["sources"] == {"old": 12, "new": 4}
