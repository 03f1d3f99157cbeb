"""What a sweep shows in the terminal: the plan, a live table, the answer. In a pipe or a log: plain lines."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Self

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from analysis import units
from analysis.records import Row, Stage, TrialRecord
from analysis.redact import redact
from reports.progress import Progress, Standing

if TYPE_CHECKING:
    from analysis.tracking_links import Links
    from analysis.verdict import Verdict

PAUSE = 5.0
"""Seconds between two lines where there is no terminal."""


def plan(
    *,
    sweep: str,
    task: str,
    goal: str,
    levels: Sequence[str],
    heats: Sequence[int],
    heat_epochs: int,
    seeds: int,
    epochs: int,
    concurrency: int,
    seconds: float | None,
    measured: bool,
    lane: str = "",
    room: str = "",
    budget: str = "",
    differences: Sequence[tuple[str, str]] = (),
    done: int = 0,
    console: Console | None = None,
) -> None:
    """What will be run: trials, epochs and about how long; ``done`` trials are there from an earlier command.

    ``heats`` are those of each level, the longest of ``heat_epochs``. ``lane``, ``room`` and ``budget`` say how trials are
    executed, how many at once and why, and how long; empty where there is nothing to say. ``differences`` are the settings in
    which the recipe departs from the defaults. ``seconds`` is the estimate for what is left, None where there is none;
    ``measured`` when trials stand behind it.
    """
    console = console or Console()
    trials = sum(heats) + len(levels) * seeds
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    grid.add_row("task", Text(f"{task}: {goal}"))
    if differences:
        grid.add_row("recipe", Text(", ".join(f"{name} {value}" for name, value in differences)))
    grid.add_row("levels", Text(("; " if any("," in label for label in levels) else ", ").join(levels)))
    if any(heats):
        sum_of = f"{len(heats)} x {heats[0]}" if len(set(heats)) == 1 else " + ".join(map(str, heats))
        grid.add_row("heats", f"{sum(heats)} = {sum_of}, up to {_epochs(heat_epochs)} each")
    grid.add_row("finals", f"{len(levels) * seeds} = {len(levels)} x {seeds} seeds, {_epochs(epochs)} each")
    if done:
        grid.add_row("there already", f"{done} of {trials} trials")
    for name, words in (("lane", lane), ("room", room), ("budget", budget)):
        if words:
            grid.add_row(name, Text(words))
    grid.add_row("time", _time(seconds, concurrency=concurrency, measured=measured, left=trials - done))
    console.print(Text(sweep, style="bold"))
    console.print(grid)
    console.print()


def _epochs(number: int) -> str:
    return f"{number} epoch{'s' if number != 1 else ''}"


def _time(seconds: float | None, *, concurrency: int, measured: bool, left: int) -> str:
    if left <= 0:
        return "nothing is left to run"
    if seconds is None:
        return f"no estimate, {concurrency} at once"
    behind = "from what trials took here" if measured else "a guess before anything ran"
    return f"about {units.seconds(seconds)} with {concurrency} at once, {behind}"


def answer(verdict: Verdict, *, report: Path, links: Links | None = None, console: Console | None = None) -> None:
    """The answer in one sentence, and where to read on."""
    console = console or Console()
    where = [("report", str(report)), *_where(links)]
    scaling = _scaling(verdict)
    if not console.is_terminal:
        print(redact(verdict.answer), file=console.file)
        if scaling is not None:
            console.print(scaling)
        for name, value in where:
            print(f"{name}: {redact(value)}", file=console.file)
        return
    console.print()
    console.print(Panel(Text(redact(verdict.answer), style="bold"), border_style="green", padding=(1, 2)))
    if scaling is not None:
        console.print(scaling)
        console.print()
    # Outside the frame and not folded, so that a path, a command or an address can be copied whole.
    for name, value in where:
        line = Text(f"{name:<10}", style="dim").append(redact(value), style="not dim")
        console.print(line, soft_wrap=True, highlight=False)


def _scaling(verdict: Verdict) -> Table | None:
    """The figures behind an answer about workers; None for any other."""
    from reports.scaling import part

    groups = [part(group) for group in verdict.scaling.groups] if verdict.scaling is not None else []
    if not any(row.n for group in groups for row in group.rows):
        return None
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("batch", overflow="fold")
    for name in ("workers", "samples/s", "times as fast", "efficiency", "peak memory"):
        table.add_column(name, justify="right", no_wrap=True)
    for group in groups:
        for place, row in enumerate(group.rows):
            fast = f"{row.speed_up} {row.speed_up_interval}".strip()
            memory = row.memory if row.workers == 1 else f"{row.workers} x {row.memory}"
            named = Text(redact(group.label) if place == 0 else "")
            table.add_row(named, f"{row.workers}", row.throughput, fast, row.efficiency, memory)
    return table


def _where(links: Links | None) -> list[tuple[str, str]]:
    if links is None:
        return []
    # The comparison's address holds ten ids, four lines of them: it stands on the page, as a link.
    return [(name, value) for name, value in (("mlflow", links.command), ("trials", links.url)) if value]


class LiveTable:
    """A table that follows a sweep: a line for each level, the whole below it. Also a context manager.

    Call ``already`` with the ledger first when a sweep goes on, then ``started``, ``reported``, ``ended`` as trials tell,
    and ``close`` in any case, also after an interruption: it gives the terminal back. Without a terminal a plain line
    is printed every few seconds, and when a stage is complete. ``levels`` are labels in order, ``heats`` are those of each.
    """

    def __init__(
        self,
        *,
        levels: Sequence[str],
        heats: Sequence[int],
        seeds: int,
        epochs: int,
        metric: str,
        mode: str,
        console: Console | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._progress = Progress(levels=levels, heats=heats, seeds=seeds, epochs=epochs, metric=metric, mode=mode)
        self._heats = dict(zip(levels, heats, strict=True))
        self._metric = metric
        self._clock = clock
        self._begun = clock()
        self._paced: float | None = None
        self._said = self._begun
        self._milestones: set[str] = set()
        self._console = console or Console()
        # The display draws from a thread of its own.
        self._lock = threading.Lock()
        self._live: Live | None = None
        if self._console.is_terminal:
            self._live = Live(console=self._console, get_renderable=self._draw, refresh_per_second=4)
            self._live.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def already(self, records: Sequence[TrialRecord]) -> None:
        """Take in what an earlier command has finished; what it left running or lost will be run again."""
        with self._lock:
            for record in records:
                if record.status.settled:
                    self._progress.over(record, earlier=True)
            self._milestones = set(self._reached())

    def started(self, record: TrialRecord) -> None:
        """A trial starts, or goes on."""
        with self._lock:
            self._progress.began(record)
        self._say()

    def reported(self, record_id: str, row: Row) -> None:
        """An epoch of it has ended."""
        with self._lock:
            if self._paced is None:
                self._paced = self._clock()  # what came before was starting, not pace
            self._progress.told(record_id, row)
        self._say()

    def ended(self, record: TrialRecord) -> None:
        """It has ended, one way or the other."""
        with self._lock:
            self._progress.over(record)
        self._say()

    def note(self, text: str) -> None:
        """Say something above the table, or as a line of its own; from any thread."""
        if self._console.is_terminal:
            self._console.print(Text(redact(text), style="yellow"))
        else:
            print(redact(text), file=self._console.file, flush=True)

    def close(self) -> None:
        """Draw the last state and leave the terminal as it was; a second call does nothing."""
        live, self._live = self._live, None
        if live is not None:
            live.stop()

    def _say(self) -> None:
        """Without a terminal: a line when a stage is complete, or when the last one is some seconds old."""
        if self._console.is_terminal:
            return
        now = self._clock()
        new = [milestone for milestone in self._reached() if milestone not in self._milestones]
        if not new and now - self._said < PAUSE:
            return
        self._milestones.update(new)
        self._said = now
        print("; ".join([*new, self._line(now)]), file=self._console.file, flush=True)

    def _reached(self) -> list[str]:
        stages = ((Stage.HEAT, "all heats are done"), (Stage.FINAL, "all finals are done"))
        return [words for stage, words in stages if self._progress.done(stage) >= self._progress.planned(stage) > 0]

    def _line(self, now: float) -> str:
        progress = self._progress
        heats = (
            f"heats {progress.done(Stage.HEAT)}/{progress.planned(Stage.HEAT)}" if progress.planned(Stage.HEAT) else ""
        )
        parts = [
            heats,
            f"finals {progress.done(Stage.FINAL)}/{progress.planned(Stage.FINAL)}",
            f"{progress.running} running",
        ]
        best = progress.best()
        if best is not None:
            parts.append(f"best validation {units.value(best.best, self._metric)} ({best.label})")
        parts += [self._to_go(now)]
        return f"{units.seconds(now - self._begun)}: {', '.join(part for part in parts if part)}"

    def _to_go(self, now: float) -> str:
        left = self._progress.left(now - self._paced) if self._paced is not None else None
        if left is None or left <= 0 or self._progress.running == 0:
            return ""
        return f"about {units.seconds(left)} to go"

    def _draw(self) -> Group:
        with self._lock:
            now = self._clock()
            standings = self._progress.standings()
            done = sum(self._progress.done(stage) for stage in (Stage.HEAT, Stage.FINAL))
            planned = sum(self._progress.planned(stage) for stage in (Stage.HEAT, Stage.FINAL))
            to_go = self._to_go(now)
            running = self._progress.running
        bar = Table.grid(padding=(0, 2), expand=False)
        bar.add_row(
            ProgressBar(total=max(planned, 1), completed=done, width=24),
            f"{done} of {planned} trials",
            f"{running} running",
            f"{units.seconds(now - self._begun)}",
            Text(to_go, style="dim"),
        )
        return Group(self._levels(standings), bar)

    def _levels(self, standings: Sequence[Standing]) -> Table:
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
        table.add_column("level", overflow="ellipsis", no_wrap=True, max_width=32)
        sought = self._progress.planned(Stage.HEAT) > 0
        for name in (*(("heats", "stopped") if sought else ()), "running", f"best val {self._metric}", "finals"):
            table.add_column(name, justify="right", no_wrap=True)
        troubled = any(standing.diverged or standing.lost for standing in standings)
        if troubled:
            table.add_column("diverged or lost", justify="right", no_wrap=True, style="red")
        best = self._progress.best()
        for standing in standings[: self._room(len(standings))]:
            leads = best is not None and standing.label == best.label
            cells: list[Text | str] = [
                Text(standing.label, style="bold" if leads else ""),
                *([f"{standing.heats}/{self._heats.get(standing.label, 0)}"] if sought else []),
                *([f"{standing.stopped}" if standing.stopped else ""] if sought else []),
                f"{standing.running}" if standing.running else "",
                Text(units.value(standing.best, self._metric) if standing.best is not None else "", "bold" * leads),
                f"{standing.finals}/{self._progress.seeds}",
            ]
            trouble = standing.diverged + standing.lost
            table.add_row(*cells, *([f"{trouble}" if trouble else ""] if troubled else []))
        hidden = len(standings) - self._room(len(standings))
        if hidden > 0:
            table.add_row(Text(f"and {hidden} more", style="dim"))
        return table

    def _room(self, levels: int) -> int:
        """Lines for levels on this screen."""
        return levels if levels + 4 <= self._console.size.height else max(self._console.size.height - 5, 1)
