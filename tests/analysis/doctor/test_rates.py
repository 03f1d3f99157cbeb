"""The doctor's error rates, on a part of the sweeps that docs/doctor.md is measured on."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from analysis.calibration import BEGIN, END
from analysis.doctor import Disease, planted_power
from analysis.doctor.planted_trained import EXPECTED, Cause
from analysis.doctor.rates import rates, table, tables, trained_rates

HEALTHY, ILL, NETWORKS = 200, 100, 3

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


def test_on_curves_that_no_rule_was_set_on() -> None:
    """At most 6 % of the healthy ones are given anything: what is learned within the first epoch looks like nothing learned."""
    seen = rates(None, HEALTHY, stream=1, plant=planted_power.planted)
    assert seen.found.get("", 0.0) >= 0.94, seen.found
    assert seen.found.get(Disease.NO_PROGRESS.value, 0.0) > 0.5 * (1 - seen.found[""])  # is most of it


@pytest.mark.parametrize("disease", Disease)
def test_a_disease_on_curves_that_no_rule_was_set_on(disease: Disease) -> None:
    """At most 30 % are missed."""
    seen = rates(disease, ILL // 2, stream=1, plant=planted_power.planted)
    assert seen.found.get(disease.value, 0.0) >= 0.70, seen.found


@pytest.mark.parametrize("cause", [Cause.FAST, Cause.SLOW, Cause.SHORT, Cause.LEARNED, Cause.OTHER, Cause.DEAD, None])
def test_networks_with_one_mistake_and_with_none(cause: Cause | None) -> None:
    """Two of three have first what is right to say; those with none, nothing."""
    seen = trained_rates(cause, NETWORKS, stream=1)
    right = [one.value for one in EXPECTED[cause]] if cause is not None else [""]
    assert sum(seen.first.get(name, 0.0) for name in right) >= 2 / 3 - 1e-9, seen.first


def test_the_page_has_the_tables_of_this_code() -> None:
    page = (ROOT / "docs/doctor.md").read_text()
    between = page.partition(BEGIN)[2].partition(END)[0]

    def named(text: str) -> list[str]:
        return re.findall(r"^\| ([^|]+?) \|", text, re.MULTILINE)

    assert named(between) == named(tables(1))
    assert named(table(1, planted_power.planted)) == [
        "disease",
        "---",
        *(disease.value for disease in Disease),
        "anything",
    ]
    assert [one for one in named(between) if one in list(Cause)] == list(Cause)
    assert EXPECTED.keys() == set(Cause)
