"""What does each part of a recipe cost a step? One part at a time beside a plain recipe.

    python -m benchmarks.step_parts [--json] [--rounds N] [--only NAME…] [--works NAME…] [--quick]

Plain is AdamW at a constant rate, the whole batch at once, single precision, and nothing else. All recipes train side by side in
one process on one thread, taking turns epoch by epoch. A part's cost is the CPU time of its epoch over that of an epoch of the
plain recipe right before it; ``again`` is the plain recipe once more, and shows how far chance goes.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))  # run by its path, Python looks beside this file alone

import trainables as t  # noqa: E402
from benchmarks.conditions import cell, invocation, machine, natural, say, under, versions  # noqa: E402
from benchmarks.figures import Spread  # noqa: E402
from benchmarks.loops.work import SEED, WORKS, Work  # noqa: E402
from trainables.fit import Epoch, fit  # noqa: E402

ROUNDS = 9
LIBRARIES = ("torch",)

Change = Callable[[t.Recipe], t.Recipe]
"""The plain recipe with a part."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """A part by its name and family, and what it makes of the plain recipe."""

    family: str
    name: str
    change: Change


def parted(family: str, parts: Mapping[str, Change]) -> list[Part]:
    """The parts of a family."""
    return [Part(family=family, name=name, change=change) for name, change in parts.items()]


def plainly(work: Work, epochs: int) -> t.Recipe:
    """The plain recipe; all parameters are in one group, so that AdamW takes one kernel a step."""
    return t.Recipe(
        model=work.model, batch_size=work.batch, epochs=epochs, optimizer=t.AdamW(decay_vectors=True), seed=SEED
    )


def in_micro_batches(recipe: t.Recipe, *, count: int) -> t.Recipe:
    """So many micro-batches a step."""
    return replace(recipe, micro_batch=recipe.effective_batch(1) // count)


PARTS = (
    *parted("plain", {"again": lambda recipe: recipe}),
    *parted(
        "clip",
        {
            "clip by norm": partial(replace, clip=t.ClipNorm(1.0)),
            "clip by value": partial(replace, clip=t.ClipValue(0.5)),
        },
    ),
    *parted(
        "average",
        {
            "EMA": partial(replace, average=t.EMA(decay=0.99)),
            "SWA": partial(replace, average=t.SWA(epochs=10_000)),
        },
    ),
    *parted(
        "optimizer",
        {
            "AdamW, vectors not decayed": partial(replace, optimizer=t.AdamW(decay_vectors=False)),
            "Adam": partial(replace, optimizer=t.Adam()),
            "SGD": partial(replace, optimizer=t.SGD(lr=0.01)),
            "SGD, momentum": partial(replace, optimizer=t.SGD(lr=0.01, momentum=0.9, nesterov=True)),
            "RMSprop": partial(replace, optimizer=t.RMSprop()),
            "RAdam": partial(replace, optimizer=t.RAdam()),
            "LAMB": partial(replace, optimizer=t.LAMB()),
        },
    ),
    *parted(
        "schedule",
        {
            "cosine": partial(replace, schedule=t.Cosine(warmup=0.1)),
            "one-cycle": partial(replace, schedule=t.OneCycle()),
        },
    ),
    *parted("noise", {"gradient noise": partial(replace, noise=t.GradientNoise())}),
    *parted("augment", {"noise on the inputs": partial(replace, augment=t.Noise())}),
    *parted("loss", {"label smoothing": partial(replace, loss=t.CrossEntropy(smoothing=0.1))}),
    *parted(
        "micro-batch",
        {
            "2 micro-batches": partial(in_micro_batches, count=2),
            "4 micro-batches": partial(in_micro_batches, count=4),
            "Auto, nothing to halve": partial(replace, micro_batch=t.Auto()),
        },
    ),
    *parted(
        "precision",
        {
            "BF16": partial(replace, precision=t.BF16()),
            "FP16": partial(replace, precision=t.FP16()),
            "FP64": partial(replace, precision=t.FP64()),
        },
    ),
    *parted("recompute", {"all blocks computed again": partial(replace, recompute=("blocks.*",))}),
    *parted("compile", {"compiled": partial(replace, compile=t.Compile())}),
)

COSTLY = ("compiled",)
"""Left out of ``--quick``: what it takes to start."""


def main(arguments: Sequence[str]) -> int:
    """Measure, and print tables or one JSON object; the exit status comes back."""
    import torch

    options = _options(arguments)
    torch.set_num_threads(1)
    loads = [os.getloadavg()[0]]
    works = {work.name: measured(work, options.parts, options.rounds) for work in options.works}
    loads.append(os.getloadavg()[0])
    result = {
        "meaning": "CPU time of an epoch over that of an epoch of the plain recipe right before it, median of the rounds",
        "works": works,
        "rounds": options.rounds,
        "threads": 1,
        "command": invocation("benchmarks.step_parts", options.given),
        "machine": machine(loads),
        "versions": versions(LIBRARIES),
    }
    print(json.dumps(result, indent=1, allow_nan=False)) if options.json else _show(result)
    return 0


def measured(work: Work, parts: Sequence[Part], rounds: int) -> dict[str, Any]:
    """All recipes side by side; the first epoch of each is not counted."""
    from benchmarks.loops.ours import task

    told = task(work)
    plain = plainly(work, rounds * len(parts) + 1)
    beside = fit(told, plain)
    running = {part.name: fit(told, part.change(plain)) for part in parts}
    for name, epochs in {"plain": beside, **running}.items():
        say(f"{work.name}: {name}, first epoch …")
        _seconds(epochs)
    pairs: dict[str, list[tuple[float, float]]] = {name: [] for name in running}
    for number in range(1, rounds + 1):
        say(f"{work.name}: round {number} of {rounds} …")
        for name, epochs in running.items():
            before = _seconds(beside) / work.steps
            pairs[name].append((_seconds(epochs) / work.steps, before))
    return {
        "says": work.says,
        "plain_cpu_milliseconds_per_step": Spread.of(
            1e3 * one for found in pairs.values() for _, one in found
        ).to_json(),
        "parts": {part.name: _described(part, pairs[part.name]) for part in parts},
    }


def _seconds(epochs: Iterator[Epoch]) -> float:
    """CPU time of the next epoch."""
    begun = time.process_time()
    next(epochs)
    return time.process_time() - begun


def _described(part: Part, pairs: Sequence[tuple[float, float]]) -> dict[str, Any]:
    """CPU seconds a step with the part, and of the plain recipe right before."""
    return {
        "family": part.family,
        "ratio": Spread.of(mine / plain for mine, plain in pairs).to_json(),
        "more_microseconds_per_step": Spread.of(1e6 * (mine - plain) for mine, plain in pairs).to_json(),
    }


def _show(result: Mapping[str, Any]) -> None:
    """The tables: medians, and from the least to the greatest of the rounds."""
    from rich.console import Console
    from rich.table import Table

    console = Console(width=None if sys.stdout.isatty() else 160)
    for work in result["works"].values():
        plain = cell(work["plain_cpu_milliseconds_per_step"])
        table = Table(title=f"{work['says']}: plain {plain} ms CPU a step; median of {result['rounds']} rounds")
        for column in ("", "", "over plain", "µs more a step"):
            table.add_column(column, justify="left" if not column else "right", no_wrap=True)
        for name, entry in work["parts"].items():
            table.add_row(
                entry["family"], name, cell(entry["ratio"]), f"{entry['more_microseconds_per_step']['median']:.0f}"
            )
        console.print(table)
    console.print(under(result["machine"], result["versions"]), highlight=False)


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    names, works = [part.name for part in PARTS], [work.name for work in WORKS]
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.step_parts",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of tables")
    parser.add_argument("--rounds", type=natural, metavar="N", help=f"epochs of each recipe ({ROUNDS}; with --quick 1)")
    parser.add_argument("--only", nargs="+", choices=names, metavar="NAME", help=f"of {', '.join(names)}")
    parser.add_argument(
        "--works", nargs="+", choices=works, default=works, metavar="NAME", help=f"of {', '.join(works)}"
    )
    parser.add_argument("--quick", action="store_true", help="one epoch each, nothing compiled: shows that it works")
    options = parser.parse_args(arguments)
    options.rounds = options.rounds or (1 if options.quick else ROUNDS)
    chosen = options.only or [name for name in names if not (options.quick and name in COSTLY)]
    options.parts = [part for part in PARTS if part.name in chosen]
    options.works = [work for work in WORKS if work.name in options.works]
    options.given = [*arguments]
    return options


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
