"""What do packs gain by filling the places of trials that were cut? A sweep with ASHA, its packs kept full and left to shrink.

    python -m benchmarks.places [--json] [--rounds N] [--heats N] [--only NAME…] [--quick]

Searches of a small perceptron on the digits in the lane of packs, one pack at a time, without MLflow. Each measurement is a process
of its own; full and shrinking take turns. What counts is the CPU time of all heats, of which ASHA may cut others in one than in the
other where the search learns; so the time of an epoch stands beside it.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))  # run by its path, Python looks beside this file alone

from benchmarks.conditions import apart, cell, environment, invocation, machine, natural, say, under, versions  # noqa: E402
from benchmarks.figures import Spread, sides  # noqa: E402

ROUNDS, HEATS, QUICK_HEATS = 3, 256, 40

EPOCHS = 20

SEARCHES = {"random": "drawn at random", "tpe": "TPE, which learns"}


def measured(name: str, heats: int, *, filled: bool) -> dict[str, float]:
    """What one sweep's heats took, in this process and its workers; with ``filled`` False no trial joins a pack under way."""
    from sweeps import ASHA, TPE, Random, Resources, Sweep, log_uniform
    from sweeps.engine.drive import drive
    from sweeps.engine.lanes import solo
    from sweeps.engine.machine import Machine
    from sweeps.engine.packing import Packer
    from trainables import AdamW, Recipe
    from trainables.models import MLP
    from trainables.tasks import digits

    if not filled:
        Packer.more = lambda *_: []  # type: ignore[method-assign]
    sweep = Sweep(
        name="places",
        task=digits,
        recipe=Recipe(
            model=MLP(widths=(40, 40)), batch_size=32, optimizer=AdamW(lr=log_uniform(1e-4, 1e-1)), epochs=EPOCHS
        ),
        search=Random(trials=heats) if name == "random" else TPE(trials=heats),
        early_stop=ASHA(),
        seeds=1,
        resources=Resources(cpus=1, gpus=0.0),
        lane="fused",
    )
    solo.start(sweep.resources)
    try:
        with tempfile.TemporaryDirectory(prefix="regatta-bench-") as folder:
            records = drive(sweep, Path(folder), lane="fused", concurrency=1, machine=Machine.here(None), followers=[])
    finally:
        solo.stop()
    found = [record for record in records if record.stage == "heat"]
    if lost := [record for record in found if record.lane != "fused" or record.status not in ("completed", "stopped")]:
        raise RuntimeError(
            f"{len(lost)} heats were not trained in packs; the first: {lost[0].status.value}, {lost[0].reason}"
        )
    cpu, epochs = sum(record.cost.cpu_seconds or 0.0 for record in found), sum(record.epochs for record in found)
    begun = min(record.started or 0.0 for record in found)
    ended = max(record.ended or 0.0 for record in found)
    return {
        "cpu_seconds": cpu,
        "wall_seconds": ended - begun,
        "epochs": epochs,
        "cpu_milliseconds_an_epoch": 1e3 * cpu / epochs,
        "members": mean(row["shared"] for record in found for row in record.history),
        "best": max(record.metrics["val/accuracy"] for record in found),
    }


def main(arguments: Sequence[str]) -> int:
    """Measure, and print a table or one JSON object; the exit status comes back."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.places", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    parser.add_argument("--rounds", type=natural, metavar="N", help=f"turns of each ({ROUNDS}; with --quick 1)")
    parser.add_argument("--heats", type=natural, metavar="N", help=f"of a sweep ({HEATS}; with --quick {QUICK_HEATS})")
    parser.add_argument(
        "--only", nargs="+", choices=SEARCHES, default=[*SEARCHES], metavar="NAME", help=f"of {', '.join(SEARCHES)}"
    )
    parser.add_argument("--quick", action="store_true", help="one turn of a small sweep: shows that it works")
    options = parser.parse_args(arguments)
    rounds = options.rounds or (1 if options.quick else ROUNDS)
    heats = options.heats or (QUICK_HEATS if options.quick else HEATS)
    loads = [os.getloadavg()[0]]
    settings = environment() | {"RAY_AUTH_MODE": "disabled"}
    searches = {}
    for name in options.only:
        turns = []
        for number in range(rounds):
            say(f"{name}: round {number + 1} of {rounds} …")
            calls = [f"measured({name!r}, {heats}, filled={filled})" for filled in (False, True)]
            turns.append([apart("benchmarks.places", call, settings) for call in calls])
        searches[name] = _described(SEARCHES[name], turns)
    loads.append(os.getloadavg()[0])
    result = {
        "meaning": "of a sweep whose packs are kept full, over that whose packs shrink, in the same turn",
        "searches": searches,
        "heats": heats,
        "epochs": EPOCHS,
        "rounds": rounds,
        "command": invocation("benchmarks.places", arguments),
        "machine": machine(loads),
        "versions": versions(("ray", "torch", "optuna")),
    }
    print(json.dumps(result, indent=1, allow_nan=False)) if options.json else _show(result)
    return 0


def _described(says: str, turns: Sequence[Sequence[Mapping[str, float]]]) -> dict[str, Any]:
    """The turns of one search: shrinking and full."""
    ratios = {
        key: Spread.of(full[key] / shrinking[key] for shrinking, full in turns).to_json()
        for key in ("cpu_seconds", "wall_seconds", "cpu_milliseconds_an_epoch")
    }
    return {"says": says, "ratios": ratios, **sides(turns, ("shrinking", "full"))}


def _show(result: Mapping[str, Any]) -> None:
    for found in result["searches"].values():
        shrinking, full, ratios = found["shrinking"], found["full"], found["ratios"]
        print(
            f"{result['heats']} heats {found['says']}: {cell(ratios['cpu_seconds'])} of the trials' CPU time "
            f"({cell(shrinking['cpu_seconds'])} -> {cell(full['cpu_seconds'])} s), {cell(ratios['wall_seconds'])} of the wall "
            f"({cell(shrinking['wall_seconds'])} -> {cell(full['wall_seconds'])} s), "
            f"{cell(ratios['cpu_milliseconds_an_epoch'])} an epoch; on average {shrinking['members']['median']:.0f} -> "
            f"{full['members']['median']:.0f} members"
        )
    print(under(result["machine"], result["versions"]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
