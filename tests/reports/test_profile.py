"""Where the time goes, in a terminal of 80 columns and on the page."""

from __future__ import annotations

import json
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from analysis.ledger import Goal
from analysis.records import Stage
from reports import trials
from reports.labels import Labels
from reports.page import write
from reports.profile import lines, section, table
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
    assert "trace of steps 10 to 14, left out above: trace.json" in text


FINALS = [
    record for record in planted_records({16: [0.9, 0.8], 64: [0.95, 0.94]}, heats=2) if record.stage is Stage.FINAL
]
LABELS = Labels(known={json.dumps({"batch_size": level}): str(level) for level in (16, 64)}, order=["16", "64"])


def left(folder: Path, trial: str, text: str) -> None:
    path = folder / "artifacts" / trial / "profile.json"
    path.parent.mkdir(parents=True)
    path.write_text(text)


def test_levels_are_told_by_the_trials_that_were_profiled(tmp_path: Path) -> None:
    left(tmp_path, "no-such-trial", json.dumps(planted()))
    (torn, other), whole = ([record for record in FINALS if record.level["batch_size"] == level] for level in (16, 64))
    left(tmp_path, torn.id, "torn")
    left(tmp_path, other.id, json.dumps({"phases": [{"phase": "data", "share": "much"}]}))
    assert section(tmp_path, FINALS, LABELS) is None
    for record in whole:
        left(tmp_path, record.id, json.dumps(planted()))
    found = section(tmp_path, FINALS, LABELS)
    assert found is not None
    (row,) = found.rows
    assert (row.label, row.trials, found.trials, found.stage) == ("64", 2, "2", "finals")
    assert [name for name, _ in found.columns] == list(SHARES)
    assert row.phases[2] == ("30 %", "2.2 ms")
    assert row.phases[-1] == ("5 %", "")
    assert row.bar.count("<rect") == len(SHARES)


def test_the_page_has_a_section_where_trials_were_profiled(tmp_path: Path) -> None:
    records = planted_records({16: [0.9, 0.8], 64: [0.95, 0.94]}, heats=2)
    folder = planted_folder(tmp_path, records, planted_question([16, 64], seeds=2))
    for record in FINALS[1:]:
        left(folder, record.id, json.dumps(planted()))
    page = write(folder).read_text()
    timed = page.partition("Where the time goes")[2].partition("</section>")[0]
    assert timed.count('<th scope="row">') == 2
    assert timed.count("30 %<small>2.2 ms</small>") == 2
    assert timed.count("10 %<small>123 ms</small>") == 2
    assert "the mean of 1 to 2 finals a level" in timed
    assert ">memory</th>" in page
    assert ">300 MB</td>" in page
    assert ">energy</th>" not in page


def test_trials_say_their_energy_where_that_of_any_is_known() -> None:
    first = replace(FINALS[0], cost=replace(FINALS[0].cost, joules=1234.0))
    goal = Goal(metric="accuracy", mode="max")
    shown = {name: place for place, (name, _) in enumerate(trials.head([first, *FINALS[1:]], goal))}
    rows = trials.rows([first, *FINALS[1:]], goal, LABELS)
    assert [row.cells[shown["energy"]].text for row in rows[:2]] == ["1.23 kJ", "–"]
    assert rows[0].cells[shown["memory"]].text == "300 MB"
    assert "energy" not in dict(trials.head(FINALS, goal))
    assert len(trials.rows(FINALS, goal, LABELS)[0].cells) == len(trials.head(FINALS, goal))
