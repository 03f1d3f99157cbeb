"""Where a person finds the runs: the command, the links, the note, the view."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from analysis.judge import judge
from analysis.ledger import Goal, read_question
from analysis.records import Stage, Status
from analysis.tracking_links import links, top
from analysis.tracking_note import note
from analysis.tracking_place import Place
from analysis.tracking_runs import Naming
from analysis.tracking_view import view
from tests.planted import planted_folder, planted_question, planted_record, planted_records

GOAL = Goal(metric="accuracy", mode="max")


def test_a_local_file_gets_a_command_that_serves_it_on_loopback(tmp_path: Path) -> None:
    place = Place.of(f"sqlite:///{tmp_path}/a b/mlflow.db")
    found = links(place, experiment="3", sweep_run="s", compared=["r1", "r2"], view=None)
    assert found.command is not None
    words = shlex.split(found.command)
    assert Path(words[0]).name == "mlflow"
    assert words[words.index("--backend-store-uri") + 1] == place.uri
    assert words[words.index("--host") + 1] == "127.0.0.1"
    assert found.url == "http://127.0.0.1:5000/#/experiments/3/runs?workflowType=machine_learning"
    assert found.run_url == "http://127.0.0.1:5000/#/experiments/3/runs/s?workflowType=machine_learning"


def test_a_servers_links_are_upon_its_address_and_there_is_nothing_to_start() -> None:
    place = Place.of("https://me:hunter2@host:8443/ml/")
    found = links(place, experiment="3", sweep_run="s", compared=["r1", "r2"], view="mine")
    assert found.command is None
    assert found.url == "https://host:8443/ml/#/experiments/3/runs?workflowType=machine_learning&viewStateShareKey=mine"
    assert "hunter2" not in json.dumps(found.to_json())


def test_the_comparison_is_encoded_and_reads_back() -> None:
    found = links(Place.of("http://host"), experiment="3", sweep_run=None, compared=["r1", "r2"], view=None)
    assert found.compare_url is not None
    assert not set('["], ') & set(found.compare_url)
    query = parse_qs(urlsplit(found.compare_url).fragment.partition("?")[2])
    assert json.loads(query["runs"][0]) == ["r1", "r2"]
    assert json.loads(query["experiments"][0]) == ["3"]
    assert found.run_url is None


def test_there_are_no_links_to_what_has_not_been_written() -> None:
    nothing = links(Place.of("http://host"), experiment=None, sweep_run=None, compared=[], view=None)
    assert set(nothing.to_json().values()) == {None}
    one = links(Place.of("http://host"), experiment="3", sweep_run="s", compared=["r1"], view=None)
    assert one.compare_url is None


def test_a_database_without_a_server_gets_the_command_alone() -> None:
    found = links(Place.of("postgresql://me:hunter2@host/db"), experiment="3", sweep_run="s", compared=[], view=None)
    assert found.command is not None
    assert "hunter2" not in found.command
    assert found.url is None


def test_the_best_of_every_level_come_before_the_second_best() -> None:
    records = planted_records({16: [0.90, 0.91], 64: [0.97, 0.98], 256: [0.95, 0.99]}, heats=2)
    chosen = top(records, GOAL, count=4)
    assert [(record.level["batch_size"], record.metrics["test/accuracy"]) for record in chosen] == [
        (256, 0.99),
        (64, 0.98),
        (16, 0.91),
        (64, 0.97),
    ]
    assert {record.stage for record in top(records, GOAL)} == {Stage.FINAL}


def test_less_is_better_where_the_goal_says_so() -> None:
    records = planted_records({16: [0.90, 0.91], 64: [0.97, 0.98]}, heats=0)
    best = top(records, Goal(metric="accuracy", mode="min"), count=2)
    assert [record.metrics["test/accuracy"] for record in best] == [0.90, 0.97]


def test_without_finals_the_heats_are_compared_on_validation() -> None:
    heats = [record for record in planted_records({16: [0.9], 64: [0.95]}) if record.stage is Stage.HEAT]
    chosen = top(heats, GOAL)
    assert {record.status for record in chosen} == {Status.COMPLETED}
    assert len(chosen) == 4


@pytest.mark.parametrize("status", [Status.DIVERGED, Status.FAILED, Status.OUT_OF_MEMORY, Status.STOPPED])
def test_a_trial_that_gave_no_score_is_never_compared(status: Status) -> None:
    good = planted_record(level=16, stage=Stage.FINAL, seed=1, number=0, score=0.5)
    bad = planted_record(level=16, stage=Stage.FINAL, seed=2, number=1, score=0.99, status=status)
    empty = replace(good, id="x", metrics={})
    assert top([bad, good, empty], GOAL) == [good]


def test_the_note_begins_with_the_answer_and_lists_the_levels(tmp_path: Path) -> None:
    records = planted_records(
        {16: [0.90 + 0.001 * seed for seed in range(8)], 64: [0.965, 0.975] * 4}, diverged=[(16, 2)]
    )
    raw = planted_question([16, 64], seeds=8) | {"command": "python s.py --tracking-uri http://me:hunter2@host"}
    question = read_question(planted_folder(tmp_path, records, raw))
    verdict = replace(judge(question, records), answer="64 <b>leads</b> | by *far*")
    text = note(question, verdict, page="#/experiments/1/runs/x")
    assert text.startswith(r"**64 \<b\>leads\</b\> \| by \*far\***")
    table = [line for line in text.splitlines() if line.startswith("| ")]
    assert table[1].startswith("| 64 | 1 | 97.0 % |")
    assert "1 diverged" in table[2]
    assert "(#/experiments/1/runs/x)" in text
    assert "python s.py" in text
    assert "hunter2" not in text


def test_the_view_shows_the_goal_the_holes_and_the_status(tmp_path: Path) -> None:
    question = read_question(planted_folder(tmp_path, [], planted_question([16, 64], seeds=2)))
    state = json.loads(view(Naming.of(question)))
    assert state["selectedColumns"][:4] == [
        "metrics.`best/test_accuracy`",
        "metrics.`best/val_accuracy`",
        "params.`batch_size`",
        "params.`lr`",
    ]
    assert "tags.`regatta.status`" in state["selectedColumns"]
    parallel = next(chart for chart in state["compareRunCharts"] if chart["type"] == "PARALLEL")
    assert parallel["selectedParams"] == ["batch_size", "lr_log10"]
    assert len({chart["uuid"] for chart in state["compareRunCharts"]}) == len(state["compareRunCharts"])
