"""What is said before and after a sweep."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from analysis.judge import judge
from analysis.ledger import read_ledger, read_question
from analysis.tracking_links import Links
from reports.console import answer, plan


def log() -> Console:
    return Console(file=io.StringIO(), force_terminal=False, width=80)


def terminal(width: int = 80) -> Console:
    return Console(file=io.StringIO(), force_terminal=True, width=width, height=30, legacy_windows=False, _environ={})


def written(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_the_plan_is_arithmetic() -> None:
    console = log()
    plan(
        sweep="batch_size",
        task="digits",
        goal="highest accuracy",
        levels=("16", "32"),
        heats=(4, 4),
        heat_epochs=6,
        seeds=8,
        epochs=6,
        concurrency=2,
        seconds=125.0,
        measured=False,
        done=3,
        console=console,
    )
    text = written(console)
    for words in ("8 = 2 x 4", "16 = 2 x 8 seeds", "3 of 24 trials", "about 2 min 5 s with 2 at once, a guess"):
        assert words in text
    assert not {"lane", "room", "budget"} & {line.split()[0] for line in text.splitlines() if line}


def test_the_plan_says_lane_room_and_budget_and_each_level_s_own_heats() -> None:
    console = log()
    plan(
        sweep="search",
        task="digits",
        goal="highest accuracy",
        levels=("Grid", "PBT", "TPE"),
        heats=(3, 8, 6),
        heat_epochs=1,
        seeds=2,
        epochs=20,
        concurrency=1,
        seconds=None,
        measured=False,
        lane="crew, 2 workers a trial: [groups]",
        room="1 trial at once",
        budget="10 min of wall time",
        done=17 + 6,
        console=console,
    )
    lines = [" ".join(line.split()) for line in written(console).splitlines()]
    assert "heats 17 = 3 + 8 + 6, up to 1 epoch each" in lines
    assert "finals 6 = 3 x 2 seeds, 20 epochs each" in lines
    assert "there already 23 of 23 trials" in lines
    assert "lane crew, 2 workers a trial: [groups]" in lines
    assert "room 1 trial at once" in lines
    assert "budget 10 min of wall time" in lines
    assert "time nothing is left to run" in lines


@pytest.mark.parametrize("console", [log(), terminal()])
def test_the_answer_names_the_report_and_hides_passwords(console: Console, troubled_folder: Path) -> None:
    verdict = judge(read_question(troubled_folder), read_ledger(troubled_folder))
    links = Links(
        command="mlflow server --backend-store-uri postgresql://me:hunter2@db",
        url="http://127.0.0.1:5000/#/experiments/1",
        run_url=None,
        compare_url="http://127.0.0.1:5000/#/compare-runs?runs=%5B%22a%22%2C%22b%22%5D",
    )
    answer(verdict, report=Path("runs/x/report.html"), links=links, console=console)
    shown = written(console)
    assert "Batch size 64 leads" in shown
    assert "runs/x/report.html" in shown
    assert "127.0.0.1:5000/#/experiments/1" in shown
    assert "compare-runs" not in shown  # ten ids long; the page links it
    assert "hunter2" not in shown


@pytest.mark.parametrize("console", [log(), terminal()])
def test_a_plan_without_a_search_has_no_word_of_heats(console: Console) -> None:
    plan(
        sweep="scaling",
        task="digits",
        goal="highest accuracy",
        levels=("256, 1 worker", "256, 2 workers"),
        heats=(0, 0),
        heat_epochs=6,
        seeds=8,
        epochs=6,
        concurrency=1,
        seconds=None,
        measured=False,
        console=console,
    )
    shown = written(console)
    assert "heats" not in shown
    assert "256, 1 worker; 256, 2 workers" in shown


def test_the_answer_says_how_to_look_at_the_board(troubled_folder: Path) -> None:
    verdict = judge(read_question(troubled_folder), read_ledger(troubled_folder))
    for board in (Path("runs/x/tensorboard"), None):
        console = log()
        answer(verdict, report=Path("runs/x/report.html"), board=board, console=console)
        assert ("board: tensorboard --logdir runs/x/tensorboard" in written(console)) == (board is not None)
