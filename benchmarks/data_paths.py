"""What do the paths to the data cost? The same batches from memory, disk, shards and torch's DataLoader; orders; embeddings.

    python -m benchmarks.data_paths [--json] [--rounds N] [--only paths orders embeddings] [--quick]

Paths: every path feeds the product's own loop with the same batches, a small network learns from them, and all end at the same
loss. They run side by side in one process with one thread for arithmetic, and take turns epoch by epoch in an order that rotates.
A path's cost is its CPU time, that of its worker processes included, over that of tensors in memory in the same turn; ``wait`` is
the part of the epoch's wall time in which the loop had no batch. A round gives the median of its turns.

Orders: ten million indices in a process of its own for each way and round, its peak memory and CPU time, and how random they are.

Embeddings: a frozen front in every step against its output computed once, at fronts of three sizes.
Exit status 1 when paths did not train the same.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))  # run by its path, Python looks beside this file alone

from benchmarks.conditions import cell, environment, invocation, machine, natural, say, under, versions  # noqa: E402
from benchmarks.figures import Spread  # noqa: E402
from benchmarks.sources import fronts, orders, work  # noqa: E402
from benchmarks.sources.paths import PATHS, PLAIN, Way  # noqa: E402
from trainables.asked import Parser  # noqa: E402
from trainables.fit import Epoch, fit  # noqa: E402

PARTS = ("paths", "orders", "embeddings")
ROUNDS, TURNS = 5, 5
LIBRARIES = ("torch", "pyarrow", "numpy")


def main(arguments: Sequence[str]) -> int:
    """Measure, and print tables or one JSON object; the exit status comes back."""
    import torch

    options = _options(arguments)
    torch.set_num_threads(1)
    loads = [os.getloadavg()[0]]
    result: dict[str, Any] = {"same_training": True}
    with tempfile.TemporaryDirectory(prefix="regatta-bench-") as name:
        folder = Path(name)
        if "paths" in options.only:
            result |= paths(options.rounds, options.turns, folder)
            loads.append(os.getloadavg()[0])
        if "orders" in options.only:
            result |= ordered(options.rounds, options.samples)
            loads.append(os.getloadavg()[0])
        if "embeddings" in options.only:
            found = {}
            for front in fronts.FRONTS:
                say(f"embeddings: a {front.name} front …")
                found[front.name] = fronts.measured(front, options.rounds, options.turns, folder)
            result["embeddings_speed_up"] = {name: entry["speed_up"]["median"] for name, entry in found.items()}
            result["embeddings"] = found
            result["same_training"] &= all(entry["same_training"] for entry in found.values())
            loads.append(os.getloadavg()[0])
    result |= {
        "rounds": options.rounds,
        "turns": options.turns,
        "threads": 1,
        "command": invocation("benchmarks.data_paths", options.given),
        "machine": machine(loads),
        "versions": versions(LIBRARIES),
    }
    print(json.dumps(result, indent=1, allow_nan=False)) if options.json else _show(result)
    if not result["same_training"]:
        say("WARNING: not all trained the same")
    return 0 if result["same_training"] else 1


@dataclass(slots=True)
class Running:
    """A path's run, its laps (CPU seconds, wall seconds, seconds without a batch), and its last loss."""

    epochs: Iterator[Epoch]
    waited: list[float]
    laps: list[tuple[float, float, float]] = field(default_factory=list)
    loss: float = float("nan")

    @classmethod
    def of(cls, way: Way, epochs: int, folder: Path) -> Running:
        """Before its first epoch."""
        waited = [0.0]

        def through(_: Any, batches: Iterator[Any]) -> Iterator[Any]:
            while True:
                begun = time.perf_counter()
                batch = next(batches, None)
                waited[0] += time.perf_counter() - begun
                if batch is None:
                    return
                yield batch

        recipe = work.recipe(epochs, prefetch=way.ahead)
        return cls(fit(work.task(), recipe, splits=work.splits(way.make(folder)), through=through), waited)

    def lap(self) -> None:
        """One epoch."""
        self.waited[0] = 0.0
        used, begun = _cpu(), time.perf_counter()
        self.loss = next(self.epochs).metrics["train/loss"]
        self.laps.append((_cpu() - used, time.perf_counter() - begun, self.waited[0]))


def paths(rounds: int, turns: int, folder: Path) -> dict[str, Any]:
    """All paths side by side; the first epoch of each is not counted."""
    running = {}
    for way in PATHS:
        say(f"paths: {way.says} …")
        running[way.name] = Running.of(way, rounds * turns + 1, folder)
        running[way.name].lap()
        running[way.name].laps.clear()
    names = list(running)
    for number in range(rounds * turns):
        if number % turns == 0:
            say(f"paths: round {number // turns + 1} of {rounds} …")
        first = number % len(names)
        for name in (*names[first:], *names[:first]):
            running[name].lap()
    plain = running[PLAIN.name]
    found = {way.name: _described(way, running[way.name], plain, rounds, turns) for way in PATHS}
    return {
        "mapped_vs_memory": found["mapped"]["cpu_over_memory"]["median"],
        "dataloader_vs_memory": found["dataloader"]["cpu_over_memory"]["median"],
        "dataloader_2_vs_memory": found["dataloader_2"]["cpu_over_memory"]["median"],
        "prefetch_on_slow_storage": median(
            slow[1] / ahead[1] for slow, ahead in zip(running["slow"].laps, running["slow_ahead"].laps, strict=True)
        ),
        "meaning": "CPU time of an epoch over that from tensors in memory in the same turn; prefetch_on_slow_storage is wall time "
        "without over with it",
        "paths": found,
        "same_training": len({one.loss for one in running.values()}) == 1,
        "samples": work.SAMPLES,
        "batch_size": work.BATCH,
    }


def _described(way: Way, own: Running, plain: Running, rounds: int, turns: int) -> dict[str, Any]:
    """A path's rounds as plain values."""

    def spread(values: Sequence[float]) -> dict[str, Any]:
        return Spread.of(median(values[number * turns : (number + 1) * turns]) for number in range(rounds)).to_json()

    return {
        "says": way.says,
        "cpu_over_memory": spread([mine[0] / its[0] for mine, its in zip(own.laps, plain.laps, strict=True)]),
        "wall_over_memory": spread([mine[1] / its[1] for mine, its in zip(own.laps, plain.laps, strict=True)]),
        "cpu_microseconds_per_step": spread([1e6 * lap[0] / work.STEPS for lap in own.laps]),
        "microseconds_per_step": spread([1e6 * lap[1] / work.STEPS for lap in own.laps]),
        "wait_share": spread([lap[2] / lap[1] for lap in own.laps]),
        "loss": own.loss,
    }


def ordered(rounds: int, samples: int) -> dict[str, Any]:
    """Every order in a process of its own, taking turns."""
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in orders.ORDERS}
    for number in range(rounds):
        say(f"orders: round {number + 1} of {rounds} …")
        for name in orders.ORDERS:
            command = [sys.executable, "-m", "benchmarks.sources.orders", name, str(samples), str(orders.BATCH)]
            done = subprocess.run(command, env=environment(), stdout=subprocess.PIPE, text=True, check=True)
            runs[name].append(json.loads(done.stdout))
    found = {}
    for name, rows in runs.items():
        spreads = {
            key: Spread.of(row[key] for row in rows).to_json() for key in ("cpu_seconds", "seconds", "peak_bytes")
        }
        same = {key: rows[0][key] for key in ("spread", "distance", "drift", "each_once")}
        found[name] = {"says": orders.ORDERS[name][0], **spreads, **same}
    full, chunked = found[orders.FULL], found["chunked"]
    return {
        "chunked_peak_vs_full": chunked["peak_bytes"]["median"] / full["peak_bytes"]["median"],
        "chunked_cpu_vs_full": chunked["cpu_seconds"]["median"] / full["cpu_seconds"]["median"],
        "orders": found,
        "indices": samples,
        "order_batch_size": orders.BATCH,
    }


def _cpu() -> float:
    """CPU seconds of this process and of its workers that live."""
    import psutil

    used = time.process_time()
    for child in psutil.Process().children(recursive=True):
        spent = child.cpu_times()
        used += spent.user + spent.system
    return used


def _show(result: Mapping[str, Any]) -> None:
    """The tables: medians, and from the least to the greatest of the rounds."""
    from rich.console import Console
    from rich.table import Table

    console = Console(width=None if sys.stdout.isatty() else 170)

    def table(title: str, columns: Sequence[str], rows: Iterator[Sequence[str]]) -> None:
        made = Table(title=title)
        for column in columns:
            made.add_column(column, justify="right" if column else "left", no_wrap=True)
        for row in rows:
            made.add_row(*row)
        console.print(made)

    rounds = f"median of {result['rounds']} rounds (least to greatest)"
    if "paths" in result:
        table(
            f"{result['samples']} samples in batches of {result['batch_size']}: {rounds}",
            ("", "CPU over memory", "wall over memory", "µs CPU a step", "µs a step", "waiting"),
            (
                (
                    entry["says"],
                    *(cell(entry[name]) for name in ("cpu_over_memory", "wall_over_memory")),
                    *(
                        f"{entry[name]['median']:.0f}"
                        for name in ("cpu_microseconds_per_step", "microseconds_per_step")
                    ),
                    f"{100 * entry['wait_share']['median']:.0f} %",
                )
                for entry in result["paths"].values()
            ),
        )
    if "orders" in result:
        table(
            f"{result['indices']} indices, in batches of {result['order_batch_size']}: {rounds}",
            ("", "peak MB", "CPU s", "spread", "distance", "drift", "each once"),
            (
                (
                    entry["says"],
                    f"{entry['peak_bytes']['median'] / 1e6:.1f}",
                    cell(entry["cpu_seconds"]),
                    *(f"{entry[name]:.3g}" for name in ("spread", "distance", "drift")),
                    "yes" if entry["each_once"] else "NO",
                )
                for entry in result["orders"].values()
            ),
        )
    if "embeddings" in result:
        table(
            f"A frozen front in every step, over its output computed once: {rounds}",
            (
                "",
                "share of the forward pass",
                "speed-up (CPU)",
                "ms a step with",
                "without",
                "s for once",
                "pays after epochs",
            ),
            (
                (
                    f"{name}: {' '.join(map(str, entry['widths']))}",
                    f"{100 * entry['share_of_forward']:.0f} %",
                    cell(entry["speed_up"]),
                    *(f"{entry[f'{way}_cpu_milliseconds_per_step']['median']:.3g}" for way in ("every_step", "once")),
                    f"{entry['once_cpu_seconds']:.2f}",
                    "-" if entry["pays_after_epochs"] is None else f"{entry['pays_after_epochs']:.1f}",
                )
                for name, entry in result["embeddings"].items()
            ),
        )
    console.print(under(result["machine"], result["versions"]), highlight=False)


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = Parser(
        prog="python -m benchmarks.data_paths",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of tables")
    parser.add_argument(
        "--rounds", type=natural, metavar="N", help=f"rounds of {TURNS} turns ({ROUNDS}; with --quick 1)"
    )
    parser.add_argument(
        "--only", nargs="+", choices=PARTS, default=PARTS, metavar="NAME", help=f"of {', '.join(PARTS)}"
    )
    parser.add_argument("--quick", action="store_true", help="one turn, a tenth of the indices: shows that it works")
    options = parser.parse_args(arguments)
    options.rounds = options.rounds or (1 if options.quick else ROUNDS)
    options.turns = 1 if options.quick else TURNS
    options.samples = orders.SAMPLES // (10 if options.quick else 1)
    options.given = [*arguments]
    return options


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        say("interrupted; nothing was kept, run it again")
        sys.exit(3)
