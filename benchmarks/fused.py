"""What does a step of several runs at once cost each of them? Packs of 1 to 64 members against a loop by hand, and against ``fit``.

    python -m benchmarks.fused [--json] [--device cuda] [--rounds N] [--only NAME…] [--batches N…] [--sizes K…] [--all]
                               [--compiled] [--quick]

A pack's members have learning rates and seeds of their own. The loop by hand trains the first of them with torch's best parts:
fused AdamW, one gather an epoch and views from then on, the loss read once an epoch. All of them validate after each epoch. They
are in one process on one thread and take turns, an epoch each, the first two of which are not counted. A ratio is the time of
as many steps by hand as the pack has members, over that of the pack's step in the same turn: median, least and greatest. It is the
processor's time, or with ``--device cuda``, where all of them train on the GPU, that of the day, after the GPU's work is done.
``--compiled`` has the loop by hand compiled by torch beside them.

As chosen: the size that ``trainables.fused.probe`` chooses, against ``fit``, for 64 runs of 1,000 steps each, the probe's own cost
included. Combinations whose turn takes long are left to ``--all``. Exit status 1 when a pack did not train what the loop did.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))  # run by its path, Python looks beside this file alone

from benchmarks.conditions import invocation, machine, natural, say, under, versions  # noqa: E402
from benchmarks.figures import Spread  # noqa: E402
from benchmarks.loops.work import Work  # noqa: E402
from benchmarks.packs import KINDS, Paced, alone, bare, recipe_of, together, work_of  # noqa: E402

if TYPE_CHECKING:
    import torch

SIZES, BATCHES = (1, 4, 16, 32, 64), (32, 128, 512)
"""Members of a pack, and samples in each one's batch."""

GOALS = {
    "cpu": {"mlp5k_k16": 6.0, "mlp5k_k64": 10.0, "mlp86k_best": 1.5, "worst_chosen": 0.97},
    "cuda": {"mlp5k_k32": 8.0, "mlp9k_k32": 8.0, "worst_chosen": 0.97},
}
"""What the product sets out to reach, on a processor and on a GPU."""

CLOCKS = {"cpu": "CPU time", "cuda": "wall time, the GPU's work included,"}
"""What is measured."""

RUNS, RUN_STEPS = 64, 1000
"""A usual lot: runs that could be trained together, and steps of each."""

TOLERANCE = 1e-3
"""How far the losses of the first member may be off the loop's by hand, relatively: single precision rounds in another order."""

ROUNDS = 7
STEPS, LEAST_STEPS = 34, 4
"""Steps of a turn, most and least: the most are an epoch of the handwritten digits."""

TURN_SECONDS, LARGE_SECONDS, LONG_SECONDS = 2.0, 0.5, 0.6
"""Time that the members' steps of a turn would take alone, about, at the smallest batch and at larger ones; a combination whose
``LEAST_STEPS`` would take more than the third is left to ``--all``."""

Combination = dict[str, Any]
"""A network, batch and size as measured, as plain values."""


def main(arguments: Sequence[str]) -> int:
    """Measure, and print tables or one JSON object; the exit status comes back."""
    import torch

    options = _options(arguments)
    device = torch.device(options.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        say("--device cuda: torch finds no GPU here; without --device it measures the processor")
        return 2
    torch.set_num_threads(1)
    loads = [os.getloadavg()[0]]
    found: list[Combination] = []
    chosen: list[Combination] = []
    left_out: list[str] = []
    begun = time.process_time()
    for name in options.only:
        for batch in options.batches:
            step = _step_seconds(name, batch, device)
            for size in options.sizes:
                if size * step * LEAST_STEPS > LONG_SECONDS and not options.all:
                    left_out.append(f"{name} batch {batch} K={size}")
                    continue
                wanted = TURN_SECONDS if batch == BATCHES[0] else LARGE_SECONDS
                steps = max(LEAST_STEPS, min(STEPS, int(wanted / (size * step))))
                work = work_of(name, batch, steps)
                found.append(measured(work, size, device, options.rounds, compiled=options.compiled))
                loads.append(os.getloadavg()[0])
            if not options.quick:
                chosen.append(as_chosen(name, batch, found, step, device, options.rounds))
    differing = [entry["differs"] for entry in found if entry["differs"]]
    result = _result(found, chosen, device) | {
        "left_out": left_out,
        "same_training": not differing,
        "differing": differing,
        "tolerance": TOLERANCE,
        "rounds": options.rounds,
        "threads": 1,
        "cpu_seconds": time.process_time() - begun,
        "command": invocation("benchmarks.fused", options.given),
        "machine": machine(loads) | ({"gpu": torch.cuda.get_device_name(device)} if device.type == "cuda" else {}),
        "versions": versions(("torch",)),
    }
    print(json.dumps(result, indent=1, allow_nan=False)) if options.json else _show(result)
    for fault in differing:
        say(f"WARNING: {fault}")
    return 1 if differing else 0


def measured(work: Work, size: int, device: torch.device, rounds: int, *, compiled: bool = False) -> Combination:
    """All loops side by side, in turns."""
    loops = (together(work, size, device), bare(work, device), alone(work, device))
    pack, plain, fitted = (Paced.of(epochs, device) for epochs in loops)
    quick = Paced.of(bare(work, device, compiled=True), device) if compiled else None
    others = [plain, fitted, *([quick] if quick is not None else [])]
    for one in (*others, pack):
        one.warmed()
    for _ in range(rounds):
        for one in (*others, pack):
            one.turn()

    def over(other: Paced) -> Spread:
        return Spread.of(size * its / mine for its, mine in zip(other.seconds, pack.seconds, strict=True))

    by_hand = over(plain)
    say(f"{work.says}, K={size}: {by_hand.median:.3g} times ({by_hand.least:.3g} to {by_hand.greatest:.3g})")
    return {
        "network": work.name,
        "batch": work.batch,
        "size": size,
        "steps_a_turn": work.steps,
        "over_bare": by_hand.to_json(),
        "over_fit": over(fitted).to_json(),
        "over_compiled": over(quick).to_json() if quick is not None else None,
        "bare_microseconds_per_step": Spread.of(1e6 * s / work.steps for s in plain.seconds).to_json(),
        "fit_microseconds_per_step": Spread.of(1e6 * s / work.steps for s in fitted.seconds).to_json(),
        "pack_microseconds_per_member_step": Spread.of(1e6 * s / work.steps / size for s in pack.seconds).to_json(),
        "peak_bytes": {"pack": pack.peak_bytes, "bare": plain.peak_bytes, "fit": fitted.peak_bytes},
        "differs": _differs(work, size, plain.losses, pack.losses),
    }


def as_chosen(
    name: str, batch: int, found: Sequence[Combination], step: float, device: torch.device, rounds: int
) -> Combination:
    """What the probe chooses for a network and a batch, what that costs, and what a usual lot of runs gains by it."""
    from benchmarks.loops.ours import task
    from trainables.fused.probe import chosen, clock_of
    from trainables.fused.probe_cache import Cache

    work = work_of(name, batch, 30)
    told = task(work)
    splits = told.load(0)
    with tempfile.TemporaryDirectory(prefix="regatta-bench-") as folder:
        clock = clock_of(device)
        begun = clock()
        choice = chosen(told, recipe_of(work, 0), splits, device, cache=Cache(folder=Path(folder)))
        probe = clock() - begun
    entries = [entry for entry in found if (entry["network"], entry["batch"]) == (name, batch)]
    of_size = [entry for entry in entries if entry["size"] == choice.size]
    if choice.size > 1 and not of_size:
        of_size = [measured(work_of(name, batch, LEAST_STEPS), choice.size, device, rounds)]
    fitted = [entry["fit_microseconds_per_step"]["median"] for entry in entries] or [1e6 * step]
    lot = RUNS * RUN_STEPS * min(fitted) / 1e6
    gain = of_size[0]["over_fit"]["median"] if choice.size > 1 else 1.0
    whole = lot / (probe + lot / gain)
    say(f"{work.says}: chosen {choice.size} in {probe:.2g} s, {whole:.3g} times in all")
    return {
        "network": name,
        "batch": batch,
        "size": choice.size,
        "probed": {str(size): gain for size, gain in choice.gains.items()},
        "probe_seconds": probe,
        "lot_alone_seconds": lot,
        "gain": whole,
    }


def _step_seconds(name: str, batch: int, device: torch.device) -> float:
    """Time of a step by hand, roughly."""
    plain = Paced.of(bare(work_of(name, batch, LEAST_STEPS), device), device)
    plain.warmed()
    return min(plain.turn(), plain.turn()) / LEAST_STEPS


def _differs(work: Work, size: int, by_hand: Sequence[float], packed: Sequence[float]) -> str | None:
    """Where the first member's losses are not those of the loop by hand, as a sentence."""
    for number, (expected, value) in enumerate(zip(by_hand, packed, strict=True), start=1):
        if not abs(value / expected - 1) <= TOLERANCE:
            return f"{work.says}, K={size}: in epoch {number} the loss is {value:.6g}, by hand {expected:.6g}"
    return None


def _result(found: Sequence[Combination], chosen: Sequence[Combination], device: torch.device) -> dict[str, Any]:
    """The named ratios, and all that they come from."""

    def ratio(network: str, size: int) -> float | None:
        wanted = (network, size, BATCHES[0])
        medians = [e["over_bare"]["median"] for e in found if (e["network"], e["size"], e["batch"]) == wanted]
        return medians[0] if medians else None

    best = [ratio("mlp86k", size) for size in SIZES]
    named = {f"{network}_k{size}": ratio(network, size) for network in ("mlp5k", "mlp9k") for size in SIZES} | {
        "mlp86k_best": max((value for value in best if value is not None), default=None),
        "worst_chosen": min((entry["gain"] for entry in chosen), default=None),
    }
    goals = GOALS[device.type]
    keys = {name: named[name] for name in goals}
    return {
        **keys,
        "meaning": f"{CLOCKS[device.type]} of the members' steps alone, by hand, over that of the pack's step in the same turn, "
        f"at a batch of {BATCHES[0]}. worst_chosen: {RUNS} runs of {RUN_STEPS} steps alone by fit over as chosen, probe included",
        "goals": {
            name: {"at_least": goal, "met": None if (value := keys[name]) is None else value >= goal}
            for name, goal in goals.items()
        },
        "combinations": list(found),
        "chosen": list(chosen),
    }


def _show(result: Mapping[str, Any]) -> None:
    """The tables: medians, and from the least to the greatest of the rounds."""
    from rich.console import Console
    from rich.table import Table

    console = Console(width=None if sys.stdout.isatty() else 160)
    table = Table(
        title=f"Times that a member's step in a pack goes into one by hand: median of {result['rounds']} rounds"
    )
    sizes = sorted({entry["size"] for entry in result["combinations"]})
    for column in ("", "batch", "by hand, µs", *(f"K={size}" for size in sizes), "chosen", "so a lot gains"):
        table.add_column(column, justify="left" if not column else "right", no_wrap=True)
    for name, batch in dict.fromkeys((entry["network"], entry["batch"]) for entry in result["combinations"]):
        entries = {e["size"]: e for e in result["combinations"] if (e["network"], e["batch"]) == (name, batch)}
        plain = Spread.of(entry["bare_microseconds_per_step"]["median"] for entry in entries.values())
        chosen = [e for e in result["chosen"] if (e["network"], e["batch"]) == (name, batch)]
        cells = [f"{entries[size]['over_bare']['median']:.3g}" if size in entries else "-" for size in sizes]
        last = [str(chosen[0]["size"]), f"{chosen[0]['gain']:.3g}"] if chosen else ["-", "-"]
        table.add_row(KINDS[name][0], str(batch), f"{plain.median:.0f}", *cells, *last)
    console.print(table)
    for name, goal in result["goals"].items():
        if result[name] is not None:
            met = "met" if goal["met"] else "missed"
            console.print(f"{name}: {result[name]:.3g}, goal at least {goal['at_least']:g}: {met}", highlight=False)
    if result["left_out"]:
        console.print(f"left to --all: {'; '.join(result['left_out'])}", highlight=False)
    console.print(under(result["machine"], result["versions"]), highlight=False)


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.fused",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    names = [*KINDS]
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    parser.add_argument("--device", choices=[*GOALS], default="cpu", help="where all of them train (cpu)")
    parser.add_argument("--rounds", type=natural, metavar="N", help=f"turns of each loop ({ROUNDS}; with --quick 1)")
    parser.add_argument("--only", nargs="+", choices=names, metavar="NAME", help=f"of {', '.join(names)}")
    parser.add_argument("--batches", nargs="+", type=natural, metavar="N", help=f"batch sizes ({BATCHES})")
    parser.add_argument("--sizes", nargs="+", type=natural, metavar="K", help=f"members of a pack ({SIZES})")
    parser.add_argument("--all", action="store_true", help="the combinations too that take long")
    parser.add_argument("--compiled", action="store_true", help="beside them the loop by hand under torch.compile")
    parser.add_argument("--quick", action="store_true", help="one turn, small packs, no probe: shows that it works")
    options = parser.parse_args(arguments)
    options.rounds = options.rounds or (1 if options.quick else ROUNDS)
    options.only = options.only or (["mlp5k"] if options.quick else names)
    options.batches = options.batches or ([BATCHES[0]] if options.quick else BATCHES)
    options.sizes = options.sizes or ([4] if options.quick else SIZES)
    options.given = [*arguments]
    return options


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
