"""What does watching a run cost? Timing it by phase, looking at a device once a second, and the machine's figures in each row.

    python -m benchmarks.instruments [--json] [--rounds N] [--works NAME…] [--quick]

Epochs take turns with plain ones on one thread; a cost is the CPU time of an epoch over that of a plain epoch right before it.
``again`` is the plain one once more, and shows how far chance goes. The device is a stand-in that answers at once: a driver's own
time comes on top, and is the driver's. What a row says of memory and CPU is in every run, the plain one too: its cost is measured
by itself, over that of the shortest epoch here. So is what timing adds to a step, over the shortest step: chance is larger.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))  # run by its path, Python looks beside this file alone

from benchmarks.conditions import cell, invocation, machine, natural, say, under, versions  # noqa: E402
from benchmarks.figures import Spread  # noqa: E402
from benchmarks.loops.work import WORKS, Work  # noqa: E402
from trainables.batches import unchanged  # noqa: E402
from trainables.fit import Epoch, fit  # noqa: E402
from trainables.profiler import Profile  # noqa: E402
from trainables.profiler.profiler import Profiler  # noqa: E402
from trainables.recipe import Recipe  # noqa: E402
from trainables.task import Task  # noqa: E402
from trainables.telemetry.gpu import Gpu  # noqa: E402
from trainables.telemetry.process import Process  # noqa: E402
from trainables.telemetry.watch import Watch  # noqa: E402

ROUNDS, ROWS = 15, 2000
"""Epochs of each, and rows that are measured by themselves."""

Way = Callable[[Task, Recipe], Iterator[Epoch]]


class StandIn:
    """A device's library that answers at once."""

    NVMLError = RuntimeError

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("__"):
            raise AttributeError(name)
        if name.endswith("Processes"):
            return lambda _: [SimpleNamespace(pid=1)]
        if name.endswith(("Info", "Rates")):
            return lambda _: SimpleNamespace(used=1, gpu=1)
        return lambda *_: 1


def again(task: Task, recipe: Recipe) -> Iterator[Epoch]:
    """Nothing."""
    return fit(task, recipe)


def profiled(task: Task, recipe: Recipe) -> Iterator[Epoch]:
    """Timed by phase."""
    import torch

    profiler = Profiler(Profile(), torch.device("cpu"))
    epochs = profiler.validated(fit(task, recipe, through=profiler.around(unchanged)))
    return profiler.whole(profiler.handed_over(epochs))


def watched(task: Task, recipe: Recipe) -> Iterator[Epoch]:
    """A device looked at once a second, on a thread of its own that lives for the epoch."""
    watch, epochs = Watch(Gpu(StandIn(), None).look), fit(task, recipe)
    for _ in range(recipe.epochs):
        with watch.running():
            epoch = next(epochs)
        watch.seen()
        yield epoch


WAYS: Mapping[str, Way] = {"again": again, "profiled": profiled, "watched": watched}


def main(arguments: Sequence[str]) -> int:
    """Measure, and print a table or one JSON object; the exit status comes back."""
    import torch

    options = _options(arguments)
    torch.set_num_threads(1)
    loads = [os.getloadavg()[0]]
    works = {work.name: measured(work, options.rounds) for work in options.works}
    microseconds, of_step = row(options.rows), step(options.rows)
    loads.append(os.getloadavg()[0])
    shortest = min(work["plain_cpu_milliseconds"]["median"] for work in works.values())
    shortest_step = min(work["plain_cpu_milliseconds"]["median"] / work["steps"] for work in works.values())
    result = {
        "meaning": "CPU time of an epoch over that of a plain epoch right before it, median of the rounds",
        "works": works,
        "row_cpu_microseconds": microseconds,
        "row_over_shortest_epoch": microseconds / 1e3 / shortest,
        "profile_step_cpu_microseconds": of_step,
        "profile_over_shortest_step": of_step / 1e3 / shortest_step,
        "rounds": options.rounds,
        "threads": 1,
        "command": invocation("benchmarks.instruments", options.given),
        "machine": machine(loads),
        "versions": versions(("torch",)),
    }
    print(json.dumps(result, indent=1, allow_nan=False)) if options.json else _show(result)
    return 0


def measured(work: Work, rounds: int) -> dict[str, Any]:
    """All ways side by side; the first epoch of each is not counted."""
    from benchmarks.loops.ours import task
    from benchmarks.step_parts import plainly

    told, recipe = task(work), plainly(work, rounds * len(WAYS) + 1)
    beside, running = fit(told, recipe), {name: way(told, recipe) for name, way in WAYS.items()}
    for epochs in (beside, *running.values()):
        _seconds(epochs)
    pairs: dict[str, list[tuple[float, float]]] = {name: [] for name in running}
    for number in range(1, rounds + 1):
        say(f"{work.name}: round {number} of {rounds} …")
        for name, epochs in running.items():
            before = _seconds(beside)
            pairs[name].append((_seconds(epochs), before))
    return {
        "says": work.says,
        "steps": work.steps,
        "plain_cpu_milliseconds": Spread.of(1e3 * plain for found in pairs.values() for _, plain in found).to_json(),
        "ways": {name: _described(work, found) for name, found in pairs.items()},
    }


def row(rows: int) -> float:
    """CPU microseconds of what a row says of memory and CPU."""
    process = Process()
    begun = time.process_time()
    for _ in range(rows):
        process.held()
        if process.group is not None:
            process.group.held()
    return 1e6 * (time.process_time() - begun) / rows


def step(steps: int) -> float:
    """CPU microseconds that timing adds to a step of one micro-batch: an epoch of empty steps with it, less one without."""
    import torch

    from trainables.scaler import Unscaled

    def took(through: Callable[..., Iterator[Any]]) -> float:
        optimizer = SimpleNamespace(zero_grad=lambda: None)
        tally, plan = SimpleNamespace(looks=[], batches=0), SimpleNamespace(steps_per_epoch=steps)
        run: Any = SimpleNamespace(scaler=Unscaled(), optimizer=optimizer, tally=tally, plan=plan, step=0)
        begun = time.process_time()
        for _ in through(run, iter(range(steps))):
            run.scaler.scale(Empty()).backward()
            run.scaler.unscale(run.optimizer)
            run.optimizer.zero_grad()
            tally.batches += 1
        return time.process_time() - begun

    rounds = [took(Profiler(Profile(), torch.device("cpu")).around(unchanged)) - took(unchanged) for _ in range(5)]
    return 1e6 * median(rounds) / steps


class Empty:
    """A loss whose backward pass does nothing."""

    def backward(self) -> None:
        """Nothing."""


def _seconds(epochs: Iterator[Epoch]) -> float:
    """CPU time of the next epoch, of all threads."""
    begun = time.process_time()
    next(epochs)
    return time.process_time() - begun


def _described(work: Work, pairs: Sequence[tuple[float, float]]) -> dict[str, Any]:
    more = (1e6 * (mine - plain) / work.steps for mine, plain in pairs)
    return {
        "ratio": Spread.of(mine / plain for mine, plain in pairs).to_json(),
        "more_microseconds_per_step": Spread.of(more).to_json(),
    }


def _show(result: Mapping[str, Any]) -> None:
    """The tables: medians, and from the least to the greatest of the rounds."""
    from rich.console import Console
    from rich.table import Table

    console = Console(width=None if sys.stdout.isatty() else 120)
    for work in result["works"].values():
        plain = cell(work["plain_cpu_milliseconds"])
        console.print(f"{work['says']}, {work['steps']} steps: plain {plain} ms CPU an epoch", highlight=False)
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
        for column in ("", "over plain", "µs more a step"):
            table.add_column(column, justify="left" if not column else "right", no_wrap=True)
        for name, entry in work["ways"].items():
            table.add_row(name, cell(entry["ratio"]), f"{entry['more_microseconds_per_step']['median']:.1f}")
        console.print(table)
    share = result["row_over_shortest_epoch"]
    console.print(
        f"a row's figures: {result['row_cpu_microseconds']:.0f} µs, {share:.2%} of the shortest epoch", highlight=False
    )
    share = result["profile_over_shortest_step"]
    text = f"timing by itself: {result['profile_step_cpu_microseconds']:.1f} µs a step, {share:.2%} of the shortest"
    console.print(text, highlight=False)
    console.print(under(result["machine"], result["versions"]), highlight=False)


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    works = [work.name for work in WORKS]
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.instruments",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of tables")
    parser.add_argument("--rounds", type=natural, metavar="N", help=f"epochs of each way ({ROUNDS}; with --quick 1)")
    parser.add_argument(
        "--works", nargs="+", choices=works, default=works, metavar="NAME", help=f"of {', '.join(works)}"
    )
    parser.add_argument("--quick", action="store_true", help="one epoch each: shows that it works")
    options = parser.parse_args(arguments)
    options.rounds = options.rounds or (1 if options.quick else ROUNDS)
    options.rows = 50 if options.quick else ROWS
    options.works = [work for work in WORKS if work.name in options.works]
    options.given = [*arguments]
    return options


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
