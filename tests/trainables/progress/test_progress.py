"""What a run shows: in a terminal, in a log, and nowhere."""

from __future__ import annotations

import io
import os
import pty
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from rich.text import Text

from tests.trainables.small import recipe, task
from trainables import EarlyStopping
from trainables.fit import Epoch, fit
from trainables.progress import Progress, shown
from trainables.train import train
from trainables.world import World

ROOT = Path(__file__).resolve().parents[3]


class Clock:
    """Every look at it takes a while."""

    def __init__(self, each: float) -> None:
        self.now, self.each = 0.0, each

    def __call__(self) -> float:
        self.now += self.each
        return self.now


def log() -> Console:
    return Console(file=io.StringIO(), force_terminal=False, width=80)


def terminal(width: int = 80) -> Console:
    return Console(file=io.StringIO(), force_terminal=True, width=width, height=24, legacy_windows=False, _environ={})


def written(console: Console) -> list[str]:
    """The lines without the time of day, which each must have, and without the first, which names task and recipe."""
    assert isinstance(console.file, io.StringIO)
    lines = console.file.getvalue().splitlines()
    assert all(re.match(r"\d\d:\d\d:\d\d  ", line) for line in lines)
    first, *others = [line[10:] for line in lines] or [""]
    assert first.startswith("clusters: Recipe(model=MLP(widths=(8,)), batch_size=16, ") or not lines
    return others


def epochs(progress: Progress, **changes: Any) -> list[Epoch]:
    return list(progress.shown(fit(task, recipe(**changes), through=progress.through)))


def test_a_log_gets_the_first_epoch_and_the_end_of_a_quick_run() -> None:
    console = log()
    whole = epochs(Progress(console=console, clock=Clock(1e-4)))
    first, last = written(console)
    assert first.startswith(f"epoch 1 of 4: train loss {whole[0].metrics['train/loss']:#.4g}, val accuracy ")
    assert " (best), lr 0.10, " in first
    assert "µs/step" in first
    assert last.startswith(f"4 epochs in 0.0 s: train loss {whole[-1].metrics['train/loss']:#.4g}, val accuracy ")


def test_a_log_gets_every_slow_epoch_and_a_line_within_it_now_and_then() -> None:
    console = log()
    epochs(Progress(console=console, clock=Clock(4.0)), epochs=2)
    lines = written(console)
    within = [line for line in lines if "step " in line and " of 4, loss" in line]
    # Four steps of 4 s: not one a step.
    assert 0 < len(within) < 6
    assert re.match(
        r"epoch 1 of 2: step \d of 4, loss \d.\d+, lr 0.10, 4.0 s/step, 4 samples/s, epoch \d+ s to go, run ", within[0]
    )
    assert lines[-1].startswith("2 epochs in ")


def test_what_it_shows_changes_nothing_that_is_learned() -> None:
    plain = [epoch.metrics for epoch in fit(task, recipe())]
    for console in (log(), terminal()):
        assert [epoch.metrics for epoch in epochs(Progress(console=console))] == plain
    assert [epoch.metrics for epoch in shown(fit(task, recipe()), quiet=True)] == plain


def test_it_is_quiet_on_request(capfd: pytest.CaptureFixture[str]) -> None:
    console = log()
    epochs(Progress(console=console, quiet=True))
    with Progress(quiet=True) as progress:
        list(progress.shown(fit(task, recipe(epochs=1), through=progress.through)))
    assert written(console) == []
    assert capfd.readouterr() == ("", "")


def test_without_a_terminal_it_writes_to_stderr_alone(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # as CI has it
    list(shown(fit(task, recipe(epochs=2))))
    out, err = capfd.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 3
    assert "\x1b" not in err


@pytest.mark.parametrize("width", [40, 80, 120])
def test_a_terminal_gets_a_bar_that_fits_and_is_taken_away(width: int) -> None:
    console = terminal(width)
    progress = Progress(console=console, clock=Clock(0.3))
    epochs(progress)
    assert isinstance(console.file, io.StringIO)
    raw = console.file.getvalue()
    assert raw.count("\x1b[?25h") == raw.count("\x1b[?25l") == 1  # the cursor is back, and once
    _, *lines = [Text.from_ansi(line).plain for line in re.split("[\r\n]+", raw)]
    assert any("epoch 1 of 4" in line for line in lines)
    assert any("steps" in line for line in lines)
    assert all(len(line) < width for line in lines[:-2])
    assert "4 epochs in" in lines[-2]


def drawn(progress: Progress) -> str:
    head, done, total, count, facts = progress._drawn()
    return "; ".join([head, f"{done}/{total}", count, *filter(None, facts)])


def test_the_bar_tells_count_loss_rate_pace_and_both_ends() -> None:
    said: list[str] = []
    progress = Progress(console=terminal(), clock=Clock(1.0))

    def looked(run: Any, batches: Iterator[Any]) -> Iterator[Any]:
        for batch in progress.through(run, batches):
            yield batch
            said.append(drawn(progress))
        said.append(drawn(progress))

    for epoch in progress.shown(fit(task, recipe(stop=EarlyStopping(patience=4)), through=looked)):
        said.append(drawn(progress))
        loss = epoch.metrics["train/loss"]
    assert said[0].startswith("epoch 1 of 4; 0/4; 0 of 4 steps")
    third = next(line for line in said if "epoch 2 of 4; 3/4; 3 of 4 steps" in line)
    for part in ("loss ", "lr 0.10", "s/step", "samples/s", "epoch ", "run ", "to go at most", "best val accuracy "):
        assert part in third
    assert any("; validating; " in line for line in said)
    assert said[-1].startswith("epoch 4 of 4; 4/4; ")
    assert f"loss {loss:#.4g}" in said[-2]  # of all steps of the epoch


def test_it_ends_with_what_was_reached_also_when_the_run_is_left() -> None:
    console = log()
    for epoch in Progress(console=console).shown(fit(task, recipe())):
        if epoch.epoch == 2:
            break
    assert written(console)[-1].startswith("2 of 4 epochs in ")
    console = log()

    def failing() -> None:
        for epoch in Progress(console=console).shown(fit(task, recipe())):
            assert epoch.epoch < 3

    with pytest.raises(AssertionError):
        failing()
    assert written(console)[-1].startswith("3 of 4 epochs in ")


def test_a_run_with_checkpoints_is_shown_from_where_it_goes_on(tmp_path: Path) -> None:
    train(task, recipe(), folder=tmp_path, report=lambda history: len(history) == 2)
    console = log()
    with Progress(console=console, clock=Clock(1e-3)) as progress:
        trained = train(task, recipe(), folder=tmp_path, report=progress.report, through=progress.through)
    lines = written(console)
    assert lines[0].startswith("epoch 3 of 4: ")
    assert lines[-1].startswith("4 epochs in ")
    best = max(row["val/accuracy"] for row in trained.history)
    assert f"{best:#.4g}" in lines[-1]
    console = log()
    with Progress(console=console) as progress:  # nothing is left to train
        train(task, recipe(), folder=tmp_path, report=progress.report, through=progress.through)
    assert written(console) == []


def test_one_serves_several_runs_one_after_the_other() -> None:
    console = log()
    progress = Progress(console=console, clock=Clock(1e-4))
    epochs(progress)
    epochs(progress, epochs=2)
    assert [line.partition(":")[0].partition(" in ")[0] for line in written(console)] == [
        "epoch 1 of 4",
        "4 epochs",
        "clusters",
        "epoch 1 of 2",
        "2 epochs",
    ]


def test_of_several_workers_the_first_one_shows(tmp_path: Path) -> None:
    for rank in (0, 1):
        console, world = log(), World(rank=rank)
        progress = Progress(console=console)
        list(progress.shown(fit(task, recipe(epochs=1), world=world, through=progress.through)))
        with Progress(console=console) as progress:
            train(
                *(task, recipe(epochs=1)),
                folder=tmp_path / f"{rank}",
                report=progress.report,
                world=world,
                through=progress.through,
            )
        assert len(console.file.getvalue().splitlines()) == (0 if rank else 4)  # type: ignore[attr-defined]


SCRIPT = """
import logging, sys, time
handler = logging.StreamHandler()
logging.getLogger("mine").addHandler(handler)
from tests.trainables.small import recipe, task
from trainables.fit import fit
from trainables.progress import Progress
progress = Progress()
def slow(run, batches):
    for batch in progress.through(run, batches):
        yield batch
        time.sleep(0.1)
for epoch in progress.shown(fit(task, recipe(epochs=3), through=slow)):
    print(f"printed {epoch.epoch}")
    logging.getLogger("mine").warning(f"logged {epoch.epoch}")
print("after", handler.stream is sys.stderr)
"""


def test_prints_and_logs_stand_above_the_bar_in_a_real_terminal() -> None:
    keyboard, screen = pty.openpty()
    child = subprocess.Popen(
        [sys.executable, "-c", SCRIPT],
        stdout=screen,
        stderr=screen,
        stdin=screen,
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if name not in ("FORCE_COLOR", "NO_COLOR")}
        | {"TERM": "xterm", "COLUMNS": "80", "LINES": "24", "OMP_NUM_THREADS": "1"},
    )
    os.close(screen)
    raw = b""
    try:
        while chunk := os.read(keyboard, 65_536):
            raw += chunk
    except OSError:
        pass  # the other end is closed
    assert child.wait() == 0
    os.close(keyboard)
    lines = scrolled(raw.decode())
    assert [line for line in lines if line.startswith(("printed", "logged", "after"))] == [
        *(f"{kind} {number}" for number in (1, 2, 3) for kind in ("printed", "logged")),
        "after True",
    ]
    assert not any("to go" in line for line in lines)  # nothing of the bar is left
    assert lines[-2].startswith("3 epochs in ")


def scrolled(raw: str) -> list[str]:
    """What a terminal shows at the end: carriage returns, lines up and erased lines followed, colours left out."""
    lines, row, column = [""], 0, 0
    for token in re.findall(r"\x1b\[[?0-9;]*[A-Za-z]|\r|\n|[^\x1b\r\n]+", raw):
        if token == "\n":
            row += 1
            lines += [""] * (row + 1 - len(lines))
        elif token == "\r":
            column = 0
        elif token.endswith("A") and token[0] == "\x1b":
            row = max(0, row - int(token[2:-1] or 1))
        elif token == "\x1b[2K":
            lines[row] = ""
        elif token[0] != "\x1b":
            lines[row] = lines[row][:column].ljust(column) + token + lines[row][column + len(token) :]
            column += len(token)
    return [line.rstrip() for line in lines if line.strip()]


def test_a_stream_of_unknown_length_has_a_count_and_no_end() -> None:
    progress = Progress(console=terminal(), clock=Clock(1.0))
    with progress:
        standing = progress._standing
        standing.epoch_begins(1, 0, 0.0)
        standing.stepped(12_000, 60.0)
        assert drawn(progress).startswith("epoch 1; 12000/None; 12\u202f000 steps; ")
        assert "to go" not in drawn(progress)


def test_a_console_that_was_found_is_looked_for_again_by_the_next_run() -> None:
    """A notebook's is found each time; one that was given stays."""
    progress, given = Progress(), log()
    progress._console = terminal()
    with progress:
        assert progress._console is None
    with Progress(console=given) as other:
        assert other._console is given
