"""The table that follows a sweep, and the lines that a log gets instead."""

from __future__ import annotations

import io
import json
import re
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from rich.text import Text

from analysis.records import Stage, Status, TrialRecord
from reports.live_table import FEEL, LASTING, LONGEST, PAUSE, QUIET, SILENCE, LiveTable
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


def said(console: Console) -> list[str]:
    """The lines of a log without the time of day, which each must have."""
    lines = written(console).splitlines()
    assert all(re.match(r"\d\d:\d\d:\d\d  ", line) for line in lines)
    return [line[10:] for line in lines]


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
    lines = said(console)
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
    assert said(console)[0].startswith("5.0 s: heats 8/8, finals 1/4, 0 running")


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
    records = [replace(r, id=f"{w}", level={"resources.workers": w}) for r in finals for w in (1, 2)]
    for record in records:
        live.started(record)
        live.ended(record)
    live.close()
    shown = written(console)
    assert "heats" not in shown
    assert "stopped" not in shown
    assert "finals 2/2" in shown
    assert not console.is_interactive or "2 workers" in shown


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


def heat(number: int) -> tuple[TrialRecord, list[dict[str, Any]]]:
    """A heat that begins, and the epochs that it will tell."""
    record = planted_record(level=16, stage=Stage.HEAT, seed=0, number=number, score=0.9, lr=3.1e-3)
    rows = [{**row, "wall_seconds": 2.5 * row["epoch"]} for row in record.history]
    return replace(record, status=Status.RUNNING, history=(), metrics={}), rows


def screen(live: LiveTable, width: int) -> list[str]:
    """The table as it would be drawn now."""
    console = Console(file=io.StringIO(), width=width, height=30, color_system=None, legacy_windows=False, _environ={})
    console.print(live._draw())
    return [line.rstrip() for line in written(console).splitlines()]


@pytest.mark.parametrize("width", [80, 120])
def test_trials_that_last_are_named_with_epoch_loss_and_rate(width: int) -> None:
    clock = Clock()
    live = table(terminal(width), clock)
    for number in (1, 2):
        record, rows = heat(number)
        live.started(record)
        for row in rows[: 2 * number]:
            live.reported(record.id, row)
    assert not any("under way" in line for line in screen(live, width))
    clock.now = LASTING
    lines = screen(live, width)
    head = next(line for line in lines if "under way" in line)
    assert head.split() == ["under", "way", "epoch", "train", "loss", "val", "accuracy", "lr", "an", "epoch"]
    first, second = lines[lines.index(head) + 1 : lines.index(head) + 3]
    assert first.split() == ["16", "heat", "t001", "2/6", "0.7358", "80.0", "%", "2.2e-3", "2.5", "s"]
    assert second.split()[:4] == ["16", "heat", "t002", "4/6"]
    assert any(line.startswith("best so far ") and line.endswith("16 heat t002 (lr 0.0031)") for line in lines)
    assert any("heats 0/8" in line and "finals 0/4" in line and "2 running" in line for line in lines)
    assert max(map(len, lines)) < width
    live.close()


def test_a_trial_keeps_its_line_and_the_table_its_height() -> None:
    clock = Clock()
    live = table(terminal(), clock)
    for number in (1, 2):
        live.started(heat(number)[0])
    clock.now = LASTING
    before = screen(live, 80)
    live.ended(replace(heat(1)[0], status=Status.COMPLETED, metrics={"val/accuracy": 0.5}))
    between = screen(live, 80)
    live.started(heat(3)[0])
    after = screen(live, 80)
    place = next(i for i, line in enumerate(before) if "t002" in line)
    assert "t002" in between[place]
    assert "t002" in after[place]
    assert between[place - 1] == ""
    assert "t003" in after[place - 1]
    assert len(between) == len(after) == len(before) + 1  # the best so far
    live.close()
    assert not any("under way" in line and "left" not in line for line in screen(live, 80))
    assert any("2 left under way" in line for line in screen(live, 80))


def test_a_low_screen_still_holds_everything() -> None:
    clock = Clock()
    live = table(terminal(height=12), clock, tuple(str(level) for level in range(40)))
    for number in range(10):
        live.started(heat(number)[0])
    clock.now = LASTING
    lines = screen(live, 80)
    console = Console(file=io.StringIO(), width=80, height=12, color_system=None, legacy_windows=False, _environ={})
    live._console = console
    console.print(live._draw())
    low = written(console).splitlines()
    assert len(lines) <= 30
    assert len(low) <= 12
    assert any("under way" in line for line in low)
    assert any("more" in line for line in low)
    assert any("0 of 240 trials" in line for line in low)
    live.close()


def pulsing(folder: Path, record: TrialRecord, epoch: int, done: int, *, validating: bool = False) -> None:
    place = folder / "checkpoints" / record.id / "pulse.json"
    place.parent.mkdir(parents=True, exist_ok=True)
    told = {
        "epoch": epoch,
        "done": done,
        "of": 100,
        "step_seconds": 0.6,
        "loss": 0.25,
        "lr": 1e-3,
        "validating": validating,
    }
    place.write_text(json.dumps(told))


def watched(folder: Path, console: Console, clock: Clock) -> LiveTable:
    return LiveTable(
        levels=("16",),
        heats=(1,),
        seeds=1,
        epochs=4,
        metric="accuracy",
        mode="max",
        folder=folder,
        console=console,
        clock=clock,
    )


def test_a_long_epoch_is_seen_in_parts_and_counts_in_the_time_to_go(tmp_path: Path) -> None:
    clock = Clock()
    live = watched(tmp_path, terminal(), clock)
    record, _ = heat(7)
    live.started(record)
    pulsing(tmp_path, record, 1, 40)
    clock.now = QUIET - 0.5
    assert not any("0.4/4" in line for line in screen(live, 80))  # it has told something a moment ago
    clock.now = 100.0
    lines = screen(live, 80)
    (named,) = (line for line in lines if "t007" in line and "best" not in line)
    assert named.split()[3:] == ["0.4/4", "0.2500", "–", "1.0e-3", "1", "min"]
    # 0.4 epochs at 60 s each, whenever Ray began; 3.6 of the heat and 4 of the final to go
    assert any("about 7 min 40 s to go" in line for line in lines)
    live.reported(record.id, {"epoch": 1, "train/loss": 0.2, "val/accuracy": 0.5, "wall_seconds": 60.0})
    clock.now = 60.0
    assert any(" 1/4 " in line for line in screen(live, 80))  # what was said of an epoch that is over is no more
    live.close()


def test_a_damaged_word_of_a_trial_is_no_word(tmp_path: Path) -> None:
    clock = Clock()
    live = watched(tmp_path, terminal(), clock)
    record, _ = heat(7)
    live.started(record)
    for content in ("", "{", "[]", '{"epoch": "x"}', '{"epoch": 1, "done": null, "of": 0}'):
        pulsing(tmp_path, record, 1, 40)
        (tmp_path / "checkpoints" / record.id / "pulse.json").write_text(content)
        clock.now += 10.0
        assert any(" 0/4 " in line for line in screen(live, 80))
    live.close()


def waited(console: Console, lines: int) -> list[str]:
    for _ in range(200):
        if len(said(console)) >= lines:
            break
        time.sleep(0.05)
    return said(console)


def test_a_log_hears_of_a_long_epoch_though_nothing_ends(tmp_path: Path) -> None:
    console, clock = log(), Clock()
    with watched(tmp_path, console, clock) as live:
        record, _ = heat(7)
        live.started(record)
        pulsing(tmp_path, record, 1, 40)
        clock.now = SILENCE + FEEL
        (line,) = waited(console, 1)
    assert "16 heat t007 in epoch 0.4/4" in line
    assert "about " in line


def test_lines_come_less_often_as_time_goes_by() -> None:
    console, clock = log(), Clock()
    with table(console, clock) as live:
        record, _ = heat(1)
        live.started(record)
        while clock.now < 7200.0:
            clock.now += 1.0
            live.reported(record.id, {"epoch": 1})
    assert 7000 / LONGEST < len(said(console)) < 2 * 7200 / LONGEST + 20


def test_a_pipe_stays_a_pipe_whatever_is_said_about_colours(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    live = LiveTable(levels=("16",), heats=(1,), seeds=0, epochs=1, metric="accuracy", mode="max")
    live.started(heat(1)[0])
    live.ended(replace(heat(1)[0], status=Status.COMPLETED))
    live.close()
    assert "\x1b" not in capsys.readouterr().out
