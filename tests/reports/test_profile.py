"""Where the time goes, in a terminal of 80 columns and on the page."""

from __future__ import annotations

import json
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from analysis.records import Stage
from reports.page import write
from reports.profile import lines, table
from tests.planted import planted_folder, planted_question, planted_records

SHARES = {
    "data": (0.25, 2.1e-3),
    "forward": (0.2, 1.5e-3),
    "backward": (0.3, 2.2e-3),
    "optimizer": (0.1, 0.8e-3),
    "validation": (0.1, 0.123),
    "checkpoint": (0.003, 0.004),
    "other": (0.047, 1e-6),
}


def planted(**changes: Any) -> dict[str, Any]:
    """A profile as a trial leaves it."""
    phases = [
        {
            "phase": name,
            "count": 123_456,
            "total": 1000 * share,
            "mean": 1.1 * call,
            "least": 0.5 * call,
            "greatest": 1234 * call,
            "p50": call,
            "p95": 2 * call,
            "p99": 3 * call,
            "share": share,
            "workers": None,
        }
        for name, (share, call) in SHARES.items()
    ]
    found = {
        "device": "NVIDIA H200",
        "workers": 1,
        "epochs": [2, 3],
        "steps": 12_345,
        "seconds": 1000.0,
        "phases": phases,
    }
    return {**found, "trace": None, "traced": None, **changes}


def printed(title: str, found: dict[str, Any]) -> list[str]:
    console = Console(file=StringIO(), width=80)
    console.print(table(title, found))
    for line in lines(found):
        console.print(line, highlight=False)
    assert isinstance(console.file, StringIO)
    return console.file.getvalue().splitlines()


def test_the_table_fits_eighty_columns_whole() -> None:
    said = printed("256, SGD", planted())
    assert max(map(len, said)) <= 80
    assert not any("…" in line for line in said)
    assert said[0].strip() == "256, SGD on NVIDIA H200"
    cells = {line.split()[0]: line.split() for line in said[1:] if line.split()}
    assert cells["share"] == ["share", "in", "all", "times", "mean", "min", "p50", "p95", "p99", "max"]
    assert cells["forward"][1:3] == ["20", "%"]
    assert cells["checkpoint"][1:3] == ["<1", "%"]
    assert "  ".join(cells["backward"][-12:]) == "2.4  ms  1.1  ms  2.2  ms  4.4  ms  6.6  ms  2.7  s"
    assert cells["other"][1:] == ["5", "%", "47", "s"]  # of many things a mean says nothing
    assert cells["whole"][1:3] == ["100", "%"]
    assert said[-1].rstrip() == "12\u202f345 steps of epochs 2 to 3 (the one before warmed up)"


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (3e-7, "0.3 µs"),
        (9.94e-6, "9.9 µs"),
        (9.96e-6, "10 µs"),
        (9.9949e-4, "999 µs"),
        (9.996e-4, "1.0 ms"),
        (0.9996, "1.0 s"),
        (4321.0, "4321 s"),
    ],
)
def test_a_time_says_its_unit(seconds: float, said: str) -> None:
    found = planted(seconds=seconds)
    assert printed("x", found)[-2].split("%")[1].strip() == said


def test_several_workers_and_a_trace_are_told_below() -> None:
    found = planted(workers=2, trace="trace.json", traced=(10, 14), epochs=[1])
    for phase in found["phases"]:
        phase["workers"] = (0.001, 0.0025)
    text = " ".join(printed("x", found))
    assert "of epoch 1, which warmed up too" in text
    assert "the first of 2 workers; means of all: data 1.0 ms to 2.5 ms," in text
    assert "trace of steps 10 to 14: trace.json" in text


def swept(folder: Path) -> tuple[Path, list[str]]:
    records = planted_records({16: [0.9, 0.8], 64: [0.95, 0.94]}, heats=2)
    place = planted_folder(folder, records, planted_question([16, 64], seeds=2))
    return place, [record.id for record in records if record.stage is Stage.FINAL]


def left(folder: Path, trial: str, text: str) -> None:
    path = folder / "artifacts" / trial / "profile.json"
    path.parent.mkdir(parents=True)
    path.write_text(text)


def test_the_page_has_a_section_where_trials_were_profiled(tmp_path: Path) -> None:
    folder, finals = swept(tmp_path)
    assert "Where the time goes" not in write(folder).read_text()
    left(folder, "no-such-trial", json.dumps(planted()))
    left(folder, finals[0], "torn")
    assert "Where the time goes" not in write(folder).read_text()
    for trial in finals[1:]:
        left(folder, trial, json.dumps(planted()))
    page = write(folder).read_text()
    section = page.partition("Where the time goes")[2].partition("</section>")[0]
    assert section.count('<th scope="row">') == 2
    assert section.count("30 %<small>2.2 ms</small>") == 2
    assert section.count("10 %<small>123 ms</small>") == 2
    assert "the mean of 1 to 2 finals a level" in section


def test_a_profile_of_another_form_is_none(tmp_path: Path) -> None:
    folder, finals = swept(tmp_path)
    left(folder, finals[0], json.dumps({"phases": [{"phase": "data", "share": "much"}]}))
    assert "Where the time goes" not in write(folder).read_text()


@pytest.mark.parametrize("joules", [None, 1234.0])
def test_trials_say_their_memory_and_their_energy_where_it_is_known(tmp_path: Path, joules: float | None) -> None:
    records = planted_records({16: [0.9, 0.8], 64: [0.95, 0.94]}, heats=2)
    first = replace(records[0], cost=replace(records[0].cost, joules=joules))
    page = write(planted_folder(tmp_path, [first, *records[1:]], planted_question([16, 64], seeds=2))).read_text()
    assert ">memory</th>" in page
    assert ">300 MB</td>" in page
    assert (">energy</th>" in page) == (joules is not None)
    assert (">1.23 kJ</td>" in page) == (joules is not None)
