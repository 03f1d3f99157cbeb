"""The doctor's error rates on planted sweeps: 100 of each disease, and 200 healthy ones; docs/doctor.md has those of 1,000."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from analysis.calibration import BEGIN, END
from analysis.doctor import Disease
from analysis.doctor.rates import rates, table

HEALTHY, ILL = 200, 100

ROOT = Path(__file__).resolve().parents[3]


def test_healthy_sweeps_are_left_alone() -> None:
    """At most 2 % are given anything at all."""
    seen = rates(None, HEALTHY, stream=1)
    assert seen.found.get("", 0.0) >= 0.98, seen.found


@pytest.mark.parametrize("disease", Disease)
def test_a_disease_is_found_and_named_first(disease: Disease) -> None:
    """At most 10 % are missed, or have something else named before them."""
    seen = rates(disease, ILL, stream=1)
    assert seen.found.get(disease.value, 0.0) >= 0.90, seen.found
    assert seen.first.get(disease.value, 0.0) >= 0.90, seen.first


def test_the_page_has_the_table_of_this_code() -> None:
    page = (ROOT / "docs/doctor.md").read_text()
    between = page.partition(BEGIN)[2].partition(END)[0]
    rows = re.findall(r"^\| ([a-z ]+) \| (.*) \|$", between, re.MULTILINE)
    assert [name for name, _ in rows] == ["disease", *(disease.value for disease in Disease), "anything"]
    assert re.findall(r"^\| ([a-z ]+) \|", table(2), re.MULTILINE) == [name for name, _ in rows]
