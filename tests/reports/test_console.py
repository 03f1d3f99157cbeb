"""What the terminal and a log show."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console
from rich.text import Text

from analysis.judge import judge
from analysis.ledger import read_ledger, read_question
from analysis.records import Stage, Status
from analysis.tracking_links import Links
from reports.console import PAUSE, LiveTable, answer, plan
from tests.planted import planted_record, planted_records


class Clock:
    """Seconds that a test moves on."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def table(console: Console, clock: Clock, levels: tuple[str, ...] = ("16", "32")) -> LiveTable:
    return LiveTable(
        levels=levels,
        heats=[4] * len(levels),
        seeds=2,
        epochs=6,
        metric="accuracy",
        mode="max",
        console=console,
        clock=clock,
    )


def log() -> Console:
    return Console(file=io.StringIO(), force_terminal=False, width=80)


def terminal(width: int = 80, height: int = 30) -> Console:
    return Console(
        file=io.StringIO(), force_terminal=True, width=width, height=height, legacy_windows=False, _environ={}
    )


def written(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_log_gets_a_plain_line_every_few_seconds_and_at_milestones() -> None:
    console, clock = log(), Clock()
    records = planted_records({16: [0.9, 0.91], 32: [0.8, 0.81]})
    with table(console, clock) as live:
        for record in records:
            live.started(record)
            for row in record.history:
                live.reported(record.id, row)
            live.ended(record)
        clock.now = PAUSE + 1
        live.started(planted_record(level=16, stage=Stage.FINAL, seed=3, number=99, score=0.9))
    lines = written(console).splitlines()
    assert len(lines) == 3
    assert lines[0].startswith("all heats are done; 0 s: heats 8/8, finals 0/4")
    assert lines[1].startswith("all finals are done; ")
    assert "1 running" in lines[2]
    assert "(16)" in lines[2]
    assert "\x1b" not in written(console)


def test_what_was_there_already_is_counted_and_no_milestone() -> None:
    console, clock = log(), Clock()
    records = planted_records({16: [0.9, 0.91], 32: [0.8, 0.81]})
    with table(console, clock) as live:
        live.already(
            [*records[:8], replace(records[8], status=Status.RUNNING), replace(records[9], status=Status.FAILED)]
        )
        clock.now = PAUSE
        live.ended(records[8])
    assert written(console).startswith("5.0 s: heats 8/8, finals 1/4, 0 running")


@pytest.mark.parametrize("width", [80, 140])
def test_a_terminal_gets_a_table_that_fits(width: int) -> None:
    console, clock = terminal(width), Clock()
    records = planted_records({16: [0.9, 0.91], 32: [0.8, 0.81]}, diverged=[(32, 1)])
    live = table(console, clock)
    for record in records:
        live.started(record)
        live.ended(record)
    live.close()
    live.close()
    shown = written(console)
    assert "4/4" in shown
    assert "2/2" in shown
    assert "diverged or lost" in shown
    assert "12 of 12 trials" in shown
    assert max(len(Text.from_ansi(line)) for line in shown.splitlines()) <= width
    assert shown.count("\x1b[?25h") == 1  # the cursor is back, and once


@pytest.mark.parametrize("console", [log(), terminal()])
def test_without_a_search_there_is_no_word_of_heats(console: Console) -> None:
    live = LiveTable(
        levels=("1 worker", "2 workers"),
        heats=(0, 0),
        seeds=1,
        epochs=6,
        metric="accuracy",
        mode="max",
        console=console,
    )
    finals = [record for record in planted_records({16: [0.9]}) if record.stage is Stage.FINAL]
    records = [replace(r, level={"resources.workers": w}) for r in finals for w in (1, 2)]
    for record in records:
        live.started(record)
        live.ended(record)
    live.close()
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
    assert "stopped" not in shown
    assert "256, 1 worker; 256, 2 workers" in shown
    assert "2 workers" in shown


def test_an_interruption_gives_the_terminal_back() -> None:
    console = terminal()

    def interrupted() -> None:
        with table(console, Clock()) as live:
            live.started(planted_record(level=16, stage=Stage.HEAT, seed=0, number=1, score=0.9))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert written(console).count("\x1b[?25l") == written(console).count("\x1b[?25h") == 1


def test_more_levels_than_lines_are_counted() -> None:
    console = terminal(height=12)
    live = table(console, Clock(), tuple(str(level) for level in range(40)))
    live.close()
    assert "and 33 more" in written(console)


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
def test_levels_with_heats_of_their_own_number(console: Console) -> None:
    live = LiveTable(
        levels=("16", "32"), heats=(1, 3), seeds=1, epochs=6, metric="accuracy", mode="max", console=console
    )
    heats = [
        planted_record(level=level, stage=Stage.HEAT, seed=0, number=number, score=0.9)
        for level, count in ((16, 1), (32, 3))
        for number in range(count)
    ]
    for number, record in enumerate(heats):
        live.ended(replace(record, id=str(number)))
    live.close()
    shown = written(console)
    if console.is_terminal:
        assert {"1/1", "3/3"} <= set(Text.from_ansi(shown).plain.split())
        assert "4 of 6 trials" in shown
    else:
        assert "all heats are done" in shown
        assert "heats 4/4" in shown


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


def test_markup_in_a_level_is_text() -> None:
    console = terminal()
    live = table(console, Clock(), ("[red]16[/red]",))
    live.close()
    assert "[red]16[/red]" in written(console)


def test_a_note_stands_above_the_table_or_on_a_line_of_its_own() -> None:
    text = "No word from 64 final s3 [not markup], http://user:secret@host/"
    console = log()
    with table(console, Clock()) as live:
        live.note(text)
    assert written(console) == "No word from 64 final s3 [not markup], http://…@host/\n"
    console = terminal()
    live = table(console, Clock())
    live.note(text)
    live.close()
    shown = Text.from_ansi(written(console)).plain
    assert shown.index("No word from 64 final s3 [not markup]") < shown.rindex("0 of 12 trials")
    assert "secret" not in shown
