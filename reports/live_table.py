"""The table that follows a sweep in a terminal; in a pipe or a log, plain lines."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from analysis import units
from analysis.records import Row, Stage, TrialRecord
from analysis.redact import redact
from reports.progress import Progress, Standing, UnderWay
from reports.pulses import pulse

PAUSE, LONGEST, SILENCE = 5.0, 60.0, 15.0
"""Seconds between two lines where there is no terminal, growing with the sweep; after how long one is due though nothing ended."""

LASTING = 3.0
"""Trials are named one by one once one of them has been under way for so many seconds; shorter ones could not be read."""

FEEL, QUIET = 1.0, 4.0
"""Seconds between two looks at how far an epoch has come, and how long a trial must have told nothing for that."""

NAMED = 8
"""At most so many trials are named."""

WIDEST = 100


class LiveTable:
    """A table that follows a sweep: a line for each level, the trials under way, the whole below. Also a context manager.

    Call ``already`` with the ledger first when a sweep goes on, then ``started``, ``reported``, ``ended`` as trials tell,
    and ``close`` in any case, also after an interruption: it gives the terminal back. Without a terminal a plain line is printed
    every few seconds, less often as time goes by, and when a stage is complete. ``levels`` are labels in order, ``heats`` are those
    of each. In ``folder``, the sweep's, trials say how far they are in an epoch that lasts long.
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
        folder: Path | None = None,
        console: Console | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._progress = Progress(levels=levels, heats=heats, seeds=seeds, epochs=epochs, metric=metric, mode=mode)
        self._heats = dict(zip(levels, heats, strict=True))
        self._metric, self._folder, self._clock = metric, folder, clock
        self._begun = self._said = clock()
        self._paced: float | None = None
        self._milestones: set[str] = set()
        self._heard: dict[str, float] = {}
        self._felt = self._begun
        self._slots: list[str | None] = []
        self._lasting = self._closing = False
        # FORCE_COLOR makes rich take a pipe for a terminal; a log would be full of tables.
        self._console = console or Console(force_interactive=None if sys.stdout.isatty() else False)
        # The display, and where there is none the voice, is a thread of its own.
        self._lock, self._speaking = threading.Lock(), threading.Lock()
        self._over = threading.Event()
        self._live: Live | None = None
        self._voice: threading.Thread | None = None
        if self._console.is_interactive:
            self._live = Live(console=self._console, get_renderable=self._draw, refresh_per_second=4)
            self._live.start()
        else:
            self._voice = threading.Thread(target=self._speak, name="progress", daemon=True)
            self._voice.start()

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
        now = self._clock()
        with self._lock:
            self._heard[record.id] = now
            self._progress.began(record, now)
        self._say()

    def reported(self, record_id: str, row: Row) -> None:
        """An epoch of it has ended."""
        with self._lock:
            now = self._heard[record_id] = self._clock()
            self._progress.told(record_id, row)
            if self._paced is None:
                # What came before that epoch was starting, not pace; the same holds for the first part of one, below.
                self._paced = now - (self._progress.seconds(record_id) or 0.0)
        if now - self._said >= PAUSE:  # an epoch completes no stage
            self._say()

    def ended(self, record: TrialRecord) -> None:
        """It has ended, one way or the other."""
        with self._lock:
            self._heard.pop(record.id, None)
            self._progress.over(record)
        self._say()

    def note(self, text: str) -> None:
        """Say something above the table, or as a line of its own; from any thread."""
        if self._console.is_interactive:
            self._console.print(Text(redact(text), style="yellow"))
        else:
            print(redact(text), file=self._console.file, flush=True)

    def close(self) -> None:
        """Draw the last state and leave the terminal as it was; a second call does nothing."""
        self._closing = True
        self._over.set()
        voice, self._voice = self._voice, None
        if voice is not None:
            voice.join()
        live, self._live = self._live, None
        if live is not None:
            live.stop()

    # Without a terminal.

    def _speak(self) -> None:
        """A line also where no trial says anything for long."""
        while not self._over.wait(FEEL):
            self._feel()
            self._say(patience=SILENCE)

    def _say(self, patience: float = 0.0) -> None:
        """A line when a stage is complete, or when the last one is some seconds old."""
        if self._console.is_interactive:
            return
        with self._speaking:
            now = self._clock()
            with self._lock:
                new = [milestone for milestone in self._reached() if milestone not in self._milestones]
                if not new and now - self._said < max(self._pause(now), patience):
                    return
                self._milestones.update(new)
                line = self._line(now)
            self._said = now
            print(f"{time.strftime('%H:%M:%S')}  {'; '.join([*new, line])}", file=self._console.file, flush=True)

    def _pause(self, now: float) -> float:
        return min(max(PAUSE, (now - self._begun) / 20), LONGEST)

    def _reached(self) -> list[str]:
        stages = ((Stage.HEAT, "all heats are done"), (Stage.FINAL, "all finals are done"))
        return [words for stage, words in stages if self._progress.done(stage) >= self._progress.planned(stage) > 0]

    def _line(self, now: float) -> str:
        """How the sweep stands; of trials whose epochs are long the one that was begun first."""
        parts = [*self._counts(), f"{self._progress.running} running"]
        best = self._progress.best()
        if best is not None:
            parts.append(f"best validation {units.value(best.best, self._metric)} ({best.label})")
        within = next((trial for trial in self._progress.under_way() if trial.epoch % 1), None)
        if within is not None:
            parts.append(f"{within.name} in epoch {_epoch(within)}")
        parts.append(self._to_go(now))
        return f"{units.seconds(now - self._begun)}: {', '.join(filter(None, parts))}"

    def _counts(self) -> list[str]:
        """How many of each stage are done."""
        stages = (("heats", Stage.HEAT), ("finals", Stage.FINAL))
        counted = [(name, self._progress.done(stage), self._progress.planned(stage)) for name, stage in stages]
        return [f"{name} {done}/{planned}" for name, done, planned in counted if planned or name == "finals"]

    def _to_go(self, now: float) -> str:
        left = self._progress.left(now - self._paced) if self._paced is not None else None
        if left is None or left <= 0 or self._progress.running == 0 or self._closing:
            return ""
        return f"about {units.seconds(_rounded(left))} to go"

    def _feel(self) -> None:
        """Look how far the epochs of trials have come that have told nothing for some seconds."""
        now = self._clock()
        if self._folder is None or now - self._felt < FEEL:
            return
        self._felt = now
        with self._lock:
            silent = [name for name, heard in self._heard.items() if now - heard >= QUIET]
        found = {name: pulse(self._folder, name) for name in silent}  # a slow disk holds up nobody
        with self._lock:
            for name, felt in found.items():
                self._progress.pulsed(name, felt)
                if self._paced is None and felt is not None and felt.seconds is not None:
                    self._paced = now - felt.part * felt.seconds

    # In a terminal.

    def _draw(self) -> RenderableType:
        self._feel()
        with self._lock:
            now = self._clock()
            standings, running = self._progress.standings(), self._progress.running
            under_way = self._placed(self._progress.under_way(), now)
            done, planned = (
                sum(count(stage) for stage in (Stage.HEAT, Stage.FINAL))
                for count in (self._progress.done, self._progress.planned)
            )
            under = f"{running} running" if not self._closing else f"{running} left under way" if running else ""
            facts = [*self._counts(), under, units.seconds(now - self._begun), self._to_go(now)]
            leader = self._progress.leader()
        # The last column stays free: some terminals break the line there.
        width = min(self._console.size.width - 1, WIDEST)
        row = Table.grid(padding=(0, 2, 0, 0))
        row.width = width
        row.add_column(ratio=1)
        row.add_column(no_wrap=True)
        row.add_row(ProgressBar(total=max(planned, 1), completed=done), f"{done} of {planned} trials")
        below: list[RenderableType] = [row, Text(_fitted(facts, width), no_wrap=True, overflow="ellipsis")]
        if leader is not None:
            words = f"best so far {units.value(leader.value, self._metric)} val {self._metric}: {leader.name}"
            words += f" ({leader.point})" if leader.point else ""
            below.append(Text(words, style="dim", no_wrap=True, overflow="ellipsis"))
        height = self._console.size.height - 1 - len(below)
        # Levels that are compared come first; where the screen is low, the trials under way share what is left.
        named = under_way[: max(0, height - 3 - min(len(standings) + 1, max(height // 2, 4)))]
        above: list[RenderableType] = [self._levels(standings, height - (len(named) + 3 if named else 0), width)]
        if named:
            above += [Text(""), self._trials(named, width)]
        return Group(*above, *([Text("")] if named else []), *below)

    def _placed(self, trials: Sequence[UnderWay], now: float) -> list[UnderWay | None]:
        """The trials that are named, each in the same line for as long as it runs; None for a line that is free for the next."""
        self._lasting = self._lasting or any(now - trial.since >= LASTING for trial in trials)
        if not self._lasting or self._closing:
            return []
        known = {trial.id: trial for trial in trials}
        self._slots = [name if name in known else None for name in self._slots]
        for name in known:
            if name not in self._slots:
                if None in self._slots:
                    self._slots[self._slots.index(None)] = name
                elif len(self._slots) < NAMED:
                    self._slots.append(name)
        return [known[name] if name is not None else None for name in self._slots]

    def _trials(self, trials: Iterable[UnderWay | None], width: int) -> Table:
        """The trials under way, as they last told."""
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", width=width)
        table.add_column("under way", overflow="ellipsis", no_wrap=True, ratio=1)
        for name, room in (("epoch", 7), ("train loss", 0), (f"val {self._metric}", 0), ("lr", 6), ("an epoch", 8)):
            table.add_column(name, justify="right", no_wrap=True, min_width=room)  # columns do not move as values come
        for trial in trials:
            if trial is None:
                table.add_row("")
                continue
            table.add_row(
                Text(trial.name),
                _epoch(trial),
                f"{trial.loss:#.4g}".rstrip(".") if trial.loss is not None else units.DASH,
                units.value(trial.value, self._metric),
                f"{trial.lr:.1e}".replace("e-0", "e-").replace("e+0", "e") if trial.lr is not None else units.DASH,
                units.seconds(trial.seconds),
            )
        return table

    def _levels(self, standings: Sequence[Standing], height: int, width: int) -> Table:
        """The levels, as many as the height holds, its head included."""
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
        table.add_column("level", overflow="ellipsis", no_wrap=True, max_width=max(12, min(40, width - 56)))
        sought = self._progress.planned(Stage.HEAT) > 0
        named = (f"best val {self._metric}",) if sought else ()  # of heats alone: finals are judged on test
        for name in (*(("heats", "stopped") if sought else ()), "running", *named, "finals"):
            table.add_column(name, justify="right", no_wrap=True)
        troubled = any(standing.diverged or standing.lost for standing in standings)
        if troubled:
            table.add_column("diverged or lost", justify="right", no_wrap=True, style="red")
        best = self._progress.best()
        shown = len(standings) if len(standings) < height else max(height - 2, 1)
        for standing in standings[:shown]:
            leads = best is not None and standing.label == best.label
            cells: list[Text | str] = [
                Text(standing.label, style="bold" if leads else ""),
                *([f"{standing.heats}/{self._heats.get(standing.label, 0)}"] if sought else []),
                *([f"{standing.stopped}" if standing.stopped else ""] if sought else []),
                f"{standing.running}" if standing.running else "",
                *(
                    [
                        Text(
                            units.value(standing.best, self._metric) if standing.best is not None else "",
                            "bold" * leads,
                        )
                    ]
                    if sought
                    else []
                ),
                f"{standing.finals}/{self._progress.seeds}",
            ]
            trouble = standing.diverged + standing.lost
            table.add_row(*cells, *([f"{trouble}" if trouble else ""] if troubled else []))
        if shown < len(standings):
            table.add_row(Text(f"and {len(standings) - shown} more", style="dim"))
        return table


def _epoch(trial: UnderWay) -> str:
    """``12/20``; ``12.4/20`` in the middle of a long one."""
    at = f"{trial.epoch:.0f}" if trial.epoch % 1 == 0 else f"{trial.epoch:.1f}"
    return f"{at}/{trial.epochs}"


def _rounded(seconds: float) -> float:
    """A time to go without the digits that nobody knows."""
    step = 1 if seconds < 60 else 10 if seconds < 600 else 60
    return step * round(seconds / step)


def _fitted(parts: Sequence[str], width: int) -> str:
    """The parts side by side, as far apart as there is room for."""
    there = list(filter(None, parts))
    gaps = next((gap for gap in ("   ", "  ", ", ") if len(gap.join(there)) <= width), ", ")
    return gaps.join(there)
