"""What does the loop cost, beside the training? A step of ``fit`` with everything on, against a loop by hand and its peers.

    python -m benchmarks.loop_overhead [--json] [--rounds N] [--only NAME…] [--works NAME…] [--quick]

All loops train the same model on the same samples in the same order, by fused AdamW, with two micro-batches a step, the gradient
clipped by its norm, an exponential average of the weights, warm-up and cosine, running sums, and a validation after each epoch.
The product's and the bare loop also validate the raw weights and test each best epoch. The peers do it the way their guides do, on
the fastest data path that they take, and without logger, checkpoints and progress bar.

In each round every loop has a process and one thread of its own; after a warm-up they take turns, epoch by epoch, in an order that
rotates, while the others wait. A step's cost is the process's CPU time over an epoch's steps, the epoch's end included; a ratio is
over the bare loop's epoch of the same turn. A round gives the median of its turns.
Peers (``pip install -c constraints.txt -e '.[bench]'``) that are not installed are left out and named. Exit status 1 when a loop
failed or did not train the same.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))  # run by its path, Python looks beside this file alone

from benchmarks.conditions import cell, invocation, machine, natural, say, under, versions  # noqa: E402
from benchmarks.figures import Spread  # noqa: E402
from benchmarks.loops.running import FailedError, Running, Used  # noqa: E402
from benchmarks.loops.variants import BARE, OURS, PEERS, VARIANTS, Variant  # noqa: E402
from benchmarks.loops.work import WORKS, Work  # noqa: E402

GOALS = {"ratio_to_bare": 1.05, "ratio_to_bare_transformer": 1.02}
"""What the product sets out to stay below."""

TOLERANCE = 1e-3
"""How far final losses may be off the bare loop's, relatively: single precision rounds in another order."""

TURNS, ROUNDS = 8, 5
"""Epochs of each loop in a round, and rounds."""

LIBRARIES = ("torch", "lightning", "accelerate")


Runs = dict[tuple[str, str], dict[int, Used]]
"""What was measured, by work and loop, then by round."""


def main(arguments: Sequence[str]) -> int:
    """Measure, and print a table or one JSON object; the exit status comes back."""
    options = _options(arguments)
    missing = [variant for variant in options.variants if not variant.installed]
    if missing:
        say(f"not installed, left out: {', '.join(variant.name for variant in missing)}")
    there = [variant for variant in options.variants if variant.installed]
    runs: Runs = {(work.name, variant.name): {} for work in options.works for variant in there}
    failed: list[str] = []
    loads = []
    for number in range(1, options.rounds + 1):
        for work in options.works:
            loads.append(os.getloadavg()[0])
            say(f"round {number} of {options.rounds}: {work.name} …")
            try:
                found = measured(there, work, options.turns)
            except FailedError as error:
                failed.append(str(error))
                say(str(error))
                continue
            for name, used in found.items():
                runs[work.name, name][number] = used
            shown = ", ".join(f"{name} {1e3 * median(used.cpu):.3g}" for name, used in found.items())
            say(f"  ms CPU a step: {shown}")
    differing = [sentence for work in options.works for sentence in differences(work.name, runs)]
    result = _result(runs, options) | {
        "missing": [variant.name for variant in missing],
        "failed": failed,
        "same_training": not differing,
        "differing": differing,
        "machine": machine(loads),
    }
    print(json.dumps(result, indent=1, allow_nan=False)) if options.json else _show(result)
    for fault in [*failed, *differing]:
        say(f"WARNING: {fault}")
    return 1 if failed or differing else 0


def measured(variants: Sequence[Variant], work: Work, turns: int) -> dict[str, Used]:
    """One round: all loops side by side, one at a time. Raises FailedError, with its last words, when one fails."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="regatta-bench-")))
        running = [stack.enter_context(Running(variant, work, turns, folder / variant.name)) for variant in variants]
        for one in running:
            one.warmed()
        for number in range(turns):
            first = number % len(running)
            for one in (*running[first:], *running[:first]):
                one.turn()
        return {one.variant.name: one.ended() for one in running}


def differences(work: str, runs: Runs) -> list[str]:
    """Where a loop did not train what the bare one did, each as a sentence."""
    reference = runs.get((work, BARE.name), {})
    found = []
    for (where, name), rounds in runs.items():
        for number, used in rounds.items():
            if where != work or number not in reference:
                continue
            for loss in ("train_loss", "val_loss"):
                value, expected = getattr(used.scores, loss), getattr(reference[number].scores, loss)
                if not abs(value / expected - 1) <= TOLERANCE:
                    found.append(f"{name} on {work} ended at {loss} {value:.6g}, the bare loop ends at {expected:.6g}")
    return found


def over_bare(work: str, name: str, runs: Runs) -> Spread | None:
    """CPU a step as a multiple of the bare loop's in the same turn, each round's median; None where there is no such round."""
    bare = runs.get((work, BARE.name), {})
    values = [
        median(mine / theirs for mine, theirs in zip(used.cpu, bare[number].cpu, strict=True))
        for number, used in runs.get((work, name), {}).items()
        if number in bare
    ]
    return Spread.of(values) if values else None


def _result(runs: Runs, options: argparse.Namespace) -> dict[str, Any]:
    """All that was found out, as plain values."""
    ratios: dict[str, float | None] = {}
    for work in WORKS:
        ending = "" if work is WORKS[0] else f"_{work.name}"
        for variant in (OURS, *PEERS):
            found = over_bare(work.name, variant.name, runs)
            name = "ratio_to_bare" if variant is OURS else variant.name
            ratios[name + ending] = found.median if found is not None else None
    return {
        **ratios,
        "meaning": "CPU time a step over that of the bare loop in the same turn: median of each round's turns, then of the rounds",
        "goals": {name: {"at_most": most, "met": _met(ratios[name], most)} for name, most in GOALS.items()},
        "works": {work.name: _described(work, runs, options) for work in options.works},
        "tolerance": TOLERANCE,
        "rounds": options.rounds,
        "threads": 1,
        "command": invocation("benchmarks.loop_overhead", options.given),
        "versions": versions(LIBRARIES),
    }


def _met(ratio: float | None, goal: float) -> bool | None:
    return None if ratio is None else ratio <= goal


def _described(work: Work, runs: Runs, options: argparse.Namespace) -> dict[str, Any]:
    """One work's loops."""
    variants = {}
    for variant in VARIANTS:
        rounds = list(runs.get((work.name, variant.name), {}).values())
        if rounds:
            ratio = over_bare(work.name, variant.name, runs)
            variants[variant.name] = {
                "says": variant.says,
                "cpu_milliseconds_per_step": Spread.of(1e3 * median(used.cpu) for used in rounds).to_json(),
                "milliseconds_per_step": Spread.of(1e3 * median(used.seconds) for used in rounds).to_json(),
                "over_bare": ratio.to_json() if ratio is not None else None,
                "scores": asdict(rounds[-1].scores),
            }
    return {"says": work.says, "steps_a_turn": work.steps, "turns": options.turns, "variants": variants}


def _show(result: Mapping[str, Any]) -> None:
    """The tables: medians, and from the least to the greatest of the rounds."""
    from rich.console import Console
    from rich.table import Table

    console = Console(width=None if sys.stdout.isatty() else 160)
    for work in result["works"].values():
        title = f"{work['says']}: median of {result['rounds']} rounds (least to greatest) of {work['turns']} turns"
        table = Table(title=title)
        for column in ("", "ms CPU a step", "ms a step", "over the bare loop", "final loss"):
            table.add_column(column, justify="left" if not column else "right", no_wrap=True)
        for entry in work["variants"].values():
            ratio = cell(entry["over_bare"]) if entry["over_bare"] else "-"
            spreads = [cell(entry[name]) for name in ("cpu_milliseconds_per_step", "milliseconds_per_step")]
            table.add_row(entry["says"], *spreads, ratio, f"{entry['scores']['train_loss']:.6f}")
        console.print(table)
    for name, goal in result["goals"].items():
        if result[name] is not None:
            met = "met" if goal["met"] else "missed"
            console.print(f"{name}: {result[name]:.3f}, goal at most {goal['at_most']:g}: {met}", highlight=False)
    if result["missing"]:
        console.print(f"not installed, left out: {', '.join(result['missing'])}", highlight=False)
    console.print(under(result["machine"], result["versions"]), highlight=False)


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    names, works = [variant.name for variant in VARIANTS], [work.name for work in WORKS]
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.loop_overhead",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of tables")
    parser.add_argument("--rounds", type=natural, metavar="N", help=f"rounds over all loops ({ROUNDS}; with --quick 1)")
    parser.add_argument(
        "--only", nargs="+", choices=names, default=names, metavar="NAME", help=f"of {', '.join(names)}"
    )
    parser.add_argument(
        "--works", nargs="+", choices=works, default=works, metavar="NAME", help=f"of {', '.join(works)}"
    )
    parser.add_argument("--quick", action="store_true", help="one turn: shows that it works")
    options = parser.parse_args(arguments)
    options.rounds = options.rounds or (1 if options.quick else ROUNDS)
    options.turns = 1 if options.quick else TURNS
    options.variants = [variant for variant in VARIANTS if variant.name in options.only]
    options.works = [work for work in WORKS if work.name in options.works]
    options.given = [*arguments]
    return options


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
