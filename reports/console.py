"""What a sweep shows in the terminal before and after it runs: the plan and the answer. In a pipe or a log: plain lines."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from analysis import units
from analysis.redact import redact

if TYPE_CHECKING:
    from analysis.tracking_links import Links
    from analysis.verdict import Verdict


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
    look: str = "",
    differences: Sequence[tuple[str, str]] = (),
    done: int = 0,
    kept: str = "",
    console: Console | None = None,
) -> None:
    """What will be run: trials, epochs and about how long; ``done`` trials are there from an earlier command, and
    ``kept`` says of them what was not asked for.

    ``heats`` are those of each level, the longest of ``heat_epochs``. ``lane``, ``room`` and ``budget`` say how trials are
    executed, how many at once and why, and how long, ``look`` that an answer was seen before; empty where there is nothing to
    say. ``differences`` are the settings in which the recipe departs from the defaults. ``seconds`` is the estimate for what is
    left, None where there is none; ``measured`` when trials stand behind it.
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
        grid.add_row("there already", "; ".join(filter(None, [f"{done} of {trials} trials", kept])))
    for name, words in (("look", look), ("lane", lane), ("room", room), ("budget", budget)):
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


def answer(
    verdict: Verdict,
    *,
    report: Path,
    links: Links | None = None,
    board: Path | None = None,
    console: Console | None = None,
) -> None:
    """The answer in one sentence, and where to read on; ``board`` is where TensorBoard's files lie, where there are any."""
    console = console or Console()
    where = [("report", str(report)), *_where(links)]
    if board is not None:
        where.append(("board", f"tensorboard --logdir {board}"))
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
