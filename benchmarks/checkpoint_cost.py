"""What do checkpoints cost an epoch, written by the training thread or beside it?

    python -m benchmarks.checkpoint_cost [--json] [--rounds N] [--epochs N] [--works NAME…] [--quick]

Three runs of the same recipe after one another, in another order each round: one that keeps nothing, one whose training thread
writes state and best weights after every epoch, and one that hands them to the thread that writes, as the product does. Each is
timed by the wall from its first epoch's end until all is on disk. Torch computes on one thread; the writing has the other cores.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))  # run by its path, Python looks beside this file alone

import trainables as t  # noqa: E402
from benchmarks.conditions import cell, invocation, machine, natural, say, under, versions  # noqa: E402
from benchmarks.figures import Spread  # noqa: E402
from benchmarks.loops.work import CLASSES, SEED, WORKS, Work  # noqa: E402
from trainables.asked import Parser  # noqa: E402
from trainables.checkpoints import Found, Keeper, Weights, save, save_weights, size  # noqa: E402
from trainables.fit import Epoch, fit  # noqa: E402
from trainables.keep import BEFORE, BEST, LAST, Keep  # noqa: E402
from trainables.models import MLP, Transformer  # noqa: E402

ROUNDS, EPOCHS = 5, 8

ALL = (
    *WORKS,
    replace(
        WORKS[0],
        name="wide mlp",
        says="64-2048-2048-10 perceptron, batch 128",
        model=MLP(widths=(2048, 2048), inputs=64, outputs=CLASSES),
        steps=10,
    ),
    replace(
        WORKS[1],
        name="wide transformer",
        says="6-layer transformer (width 256, 16 steps), batch 32",
        model=Transformer(width=256, depth=6, heads=8, inputs=8, outputs=CLASSES, longest=16),
        steps=10,
    ),
)

Way = Callable[[Iterable[Epoch], Path], Iterator[Epoch]]
"""How the epochs of a run are kept in a folder."""


def nothing(epochs: Iterable[Epoch], _: Path) -> Iterator[Epoch]:
    """Not at all."""
    yield from epochs


def in_turn(epochs: Iterable[Epoch], folder: Path) -> Iterator[Epoch]:
    """By the thread that trains."""
    for epoch in epochs:
        if epoch.improved:
            save_weights(folder / BEST, Weights(epoch=epoch.epoch, module=epoch.run.deployed.state_dict()))
        save(folder / LAST, epoch.run.state(), before=folder / BEFORE)
        yield epoch


def beside(epochs: Iterable[Epoch], folder: Path) -> Iterator[Epoch]:
    """By another thread."""
    with Keeper(folder, Keep(), Found()) as keeper:
        yield from keeper.kept(epochs)


WAYS: Mapping[str, Way] = {"nothing": nothing, "in turn": in_turn, "beside": beside}


def main(arguments: Sequence[str]) -> int:
    """Measure, and print a table or one JSON object; the exit status comes back."""
    import torch

    options = _options(arguments)
    torch.set_num_threads(1)
    loads = [os.getloadavg()[0]]
    works = {work.name: measured(work, options.rounds, options.epochs) for work in options.works}
    loads.append(os.getloadavg()[0])
    result = {
        "meaning": "milliseconds of an epoch that keeps nothing, and more for one that is kept; median of the rounds",
        "works": works,
        "rounds": options.rounds,
        "epochs": options.epochs,
        "command": invocation("benchmarks.checkpoint_cost", options.given),
        "machine": machine(loads),
        "versions": versions(("torch", "safetensors")),
    }
    print(json.dumps(result, indent=1, allow_nan=False)) if options.json else _show(result)
    return 0


def measured(work: Work, rounds: int, epochs: int) -> dict[str, Any]:
    """All ways in turn, round by round; what an epoch costs more is against the same round's that keeps nothing."""
    from benchmarks.loops.ours import task

    told = task(work)
    recipe = t.Recipe(model=work.model, batch_size=work.batch, epochs=epochs + 1, optimizer=t.AdamW(), seed=SEED)
    found: dict[str, list[_Spent]] = {name: [] for name in WAYS}
    written = 0
    for number in range(rounds):
        say(f"{work.name}: round {number + 1} of {rounds} …")
        names = [*WAYS]
        for name in names[number % 3 :] + names[: number % 3]:
            with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
                found[name].append(_timed(fit(told, recipe), WAYS[name], Path(folder), epochs))
                last = Path(folder) / LAST
                written = last.stat().st_size if last.exists() else written
    plain = found.pop("nothing")
    return {
        "says": work.says,
        "state_bytes": written,
        "wall_milliseconds": Spread.of(one.wall for one in plain).to_json(),
        "kept": {name: _described(values, plain) for name, values in found.items()},
    }


@dataclass(frozen=True, kw_only=True, slots=True)
class _Spent:
    """Milliseconds of an epoch by the wall; of these, the ``held`` ones for which its thread did not train, and their CPU time."""

    wall: float
    held: float
    cpu: float


def _timed(epochs: Iterator[Epoch], way: Way, folder: Path, count: int) -> _Spent:
    """So many epochs after the first one, and all that is written of them."""
    ended: list[tuple[float, float]] = []

    def noted() -> Iterator[Epoch]:
        for epoch in epochs:
            ended.append((time.perf_counter(), time.thread_time()))
            yield epoch

    running = way(noted(), folder)
    next(running)
    begun, held, cpu = time.perf_counter(), 0.0, 0.0
    while True:
        there = next(running, None) is not None
        held += time.perf_counter() - ended[-1][0]
        cpu += time.thread_time() - ended[-1][1]
        if not there:
            break
        ended[-1] = (
            time.perf_counter(),
            time.thread_time(),
        )  # what comes after the last epoch is the rest of its writing
    return _Spent(wall=1e3 * (time.perf_counter() - begun) / count, held=1e3 * held / count, cpu=1e3 * cpu / count)


def _described(kept: Sequence[_Spent], plain: Sequence[_Spent]) -> dict[str, Any]:
    """How long training is held up, its share of an epoch, and how much longer than the same round's plain ones epochs are."""
    pairs = list(zip(kept, plain, strict=True))
    return {
        "held_milliseconds": Spread.of(one.held for one in kept).to_json(),
        "held_cpu_milliseconds": Spread.of(one.cpu for one in kept).to_json(),
        "share_of_the_epoch": Spread.of(one.held / usual.wall for one, usual in pairs).to_json(),
        "more_milliseconds": Spread.of(one.wall - usual.wall for one, usual in pairs).to_json(),
    }


def _show(result: Mapping[str, Any]) -> None:
    """The table: medians, and from the least to the greatest of the rounds."""
    from rich.console import Console
    from rich.table import Table

    console = Console(width=None if sys.stdout.isatty() else 200)
    rounds = f"median of {result['rounds']} rounds of {result['epochs']} epochs"
    table = Table(title=f"A checkpoint after every epoch; {rounds}")
    for column in (
        "",
        "state",
        "ms an epoch",
        "",
        "training waits, ms",
        "of the epoch",
        "CPU ms",
        "epoch longer by, ms",
    ):
        table.add_column(column, justify="left" if not column else "right", no_wrap=True)
    for entry in result["works"].values():
        first = [entry["says"], size(entry["state_bytes"]), cell(entry["wall_milliseconds"])]
        for name, kept in entry["kept"].items():
            share = kept["share_of_the_epoch"]["median"]
            table.add_row(
                *first,
                name,
                cell(kept["held_milliseconds"]),
                f"{share:.1%}",
                cell(kept["held_cpu_milliseconds"]),
                cell(kept["more_milliseconds"]),
            )
            first = ["", "", ""]
    console.print(table)
    console.print(under(result["machine"], result["versions"]), highlight=False)


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    names = [work.name for work in ALL]
    parser = Parser(
        prog="python -m benchmarks.checkpoint_cost",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    parser.add_argument("--rounds", type=natural, metavar="N", help=f"runs of each way ({ROUNDS}; with --quick 1)")
    parser.add_argument("--epochs", type=natural, metavar="N", help=f"epochs of a run ({EPOCHS}; with --quick 2)")
    parser.add_argument(
        "--works", nargs="+", choices=names, default=names, metavar="NAME", help=f"of {', '.join(names)}"
    )
    parser.add_argument("--quick", action="store_true", help="two epochs each: shows that it works")
    options = parser.parse_args(arguments)
    options.rounds = options.rounds or (1 if options.quick else ROUNDS)
    options.epochs = options.epochs or (2 if options.quick else EPOCHS)
    options.works = [work for work in ALL if work.name in options.works]
    options.given = [*arguments]
    return options


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        say("interrupted; nothing was kept, run it again")
        sys.exit(3)
