"""What does a trial cost, beside its training? Stock Ray Tune and Ray Train against the lanes, one trial at a time.

    python -m benchmarks.trial_cost [--json] [--rounds N] [--only NAME…] [--quick]

Every variant runs the same trial, five epochs on the handwritten digits in batches of 64 on one thread, in a process of its own,
round by round; those of 5 k parameters run twenty epochs in batches of 32.
CPU-seconds are those of all processes that it starts. The start is all until the first trial (of lane fused: the first 64) has
ended; a trial's cost is what the others took, divided by their number. Exit status 1 when a variant failed or did not do the same
training.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))  # run by its path, Python looks beside this file alone

from benchmarks.conditions import cell, environment, invocation, machine, natural, say, under, versions  # noqa: E402
from benchmarks.cost import Measured, measure  # noqa: E402
from benchmarks.figures import GOALS, Cost, Measurement, Spread, described, differences, ratios  # noqa: E402
from benchmarks.trial import Outcome  # noqa: E402
from benchmarks.variants import DRIVER, UNTRACKED, VARIANTS, Variant  # noqa: E402

DRIVEN = (10, 100, 1000)
"""Trials of the sweeps whose driver is looked at."""

TENTHS_FROM = 100
"""Trials from which a sweep is looked at in tenths."""

QUICK_TRIALS = 5
LIMIT_SECONDS = 1800.0
LIBRARIES = ("ray", "torch", "optuna", "mlflow")

Runs = dict[str, list[Measurement]]
"""What was measured, by variant; the drivers' by variant and number of trials."""


class FailedError(Exception):
    """A variant did not come to its end."""


def main(arguments: Sequence[str]) -> int:
    """Measure, and print a table or one JSON object; the exit status comes back."""
    options = _options(arguments)
    plan = _plan(options)
    runs: Runs = {name: [] for name, _, _ in plan}
    failed: list[str] = []
    loads = []
    for number in range(1, options.rounds + 1):
        for name, variant, trials in plan:
            loads.append(os.getloadavg()[0])
            say(f"round {number} of {options.rounds}: {name} …")
            try:
                run = measured(variant, trials)
            except FailedError as error:
                failed.append(str(error))
                say(str(error))
                continue
            runs[name].append(run)
            cost = f"{run.trial.cpu:.3g} CPU-s and {run.trial.seconds:.3g} s a trial"
            say(f"  {cost}, {run.start.cpu:.3g} CPU-s and {run.start.seconds:.3g} s to start")
    differing = _checked(runs)
    result = _result(runs, plan, options, loads)
    result |= {"same_training": not differing, "differing": differing, "failed": failed}
    print(json.dumps(result, indent=1, allow_nan=False)) if options.json else _show(result)
    for fault in [*failed, *differing]:
        say(f"WARNING: {fault}")
    return 1 if failed or differing else 0


def measured(variant: Variant, trials: int) -> Measurement:
    """Run a variant in a process of its own. Raises FailedError, with the end of its log, when it does not mark every trial."""
    with tempfile.TemporaryDirectory(prefix="regatta-bench-") as folder:
        scratch = Path(folder)
        marks, log = scratch / "marks", scratch / "log"
        command = [sys.executable, "-m", "benchmarks.variants", variant.name, str(trials), str(marks)]
        used = measure(
            [*command, str(scratch / "files")], environment=environment(), log=log, marks=marks, limit=LIMIT_SECONDS
        )
        lines = marks.read_text().splitlines() if marks.exists() else []
        if used.status != 0 or len(lines) != trials:
            tail = "\n".join(log.read_text(errors="replace").splitlines()[-30:])
            raise FailedError(
                f"{variant.name} ended with status {used.status} after {len(lines)} of {trials} trials:\n{tail}"
            )
        return measurement(used, lines, pack=min(variant.pack, trials - 1))


def measurement(used: Measured, lines: Sequence[str], *, pack: int = 1) -> Measurement:
    """Costs between the marks, those of the first ``pack`` being start: wall time by the marks' own clock."""
    first, last = used.marks[pack - 1], used.marks[-1]
    told = [json.loads(line) for line in lines]
    begun, ended, more = told[pack - 1], told[-1], len(told) - pack
    driver = [line["process_cpu"] for line in told[pack - 1 :]]
    return Measurement(
        start=Cost(cpu=first.cpu, seconds=first.wall),
        trial=Cost(cpu=(last.cpu - first.cpu) / more, seconds=(ended["monotonic"] - begun["monotonic"]) / more),
        after=Cost(cpu=used.end.cpu - last.cpu, seconds=used.end.wall - last.wall),
        driver=(driver[-1] - driver[0]) / more,
        tenths=_tenths(driver) if len(driver) >= TENTHS_FROM else [],
        outcomes=[Outcome.of(line["outcome"]) for line in told],
    )


def _tenths(driver: Sequence[float]) -> list[float]:
    """CPU-seconds a trial in each tenth of a sweep, from those used when each trial had ended."""
    ends = [round(part * (len(driver) - 1) / 10) for part in range(11)]
    return [(driver[end] - driver[begin]) / (end - begin) for begin, end in pairwise(ends)]


def _plan(options: argparse.Namespace) -> list[tuple[str, Variant, int]]:
    """Name, variant and number of trials of each run in a round."""
    plan = [(variant.name, variant, QUICK_TRIALS if options.quick else variant.trials) for variant in VARIANTS]
    driven = (DRIVEN[0],) if options.quick else DRIVEN
    plan += [(f"{driver.name}/{trials}", driver, trials) for driver in (DRIVER, UNTRACKED) for trials in driven]
    return [entry for entry in plan if not options.only or entry[1].name in options.only]


def _checked(runs: Runs) -> list[str]:
    """What differs from the loop written by hand, in the last heat of every run of the digits."""
    found: list[str] = []
    for variant in VARIANTS:
        said = [[outcome for outcome in run.outcomes if outcome.seed == 0][-1] for run in runs.get(variant.name, ())]
        if said:
            reference = _reference(said)
            found += differences(variant.name, ordered=variant.ordered, said=said, reference=reference)
    return found


def _reference(said: Sequence[Outcome]) -> list[Outcome]:
    """The same trials by the loop written by hand."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.reference"],
        input="\n".join(json.dumps(asdict(outcome)) for outcome in said),
        capture_output=True,
        text=True,
        check=True,
        env=environment(),
    )
    return [Outcome.of(json.loads(line)) for line in done.stdout.splitlines()]


def _result(
    runs: Runs,
    plan: Sequence[tuple[str, Variant, int]],
    options: argparse.Namespace,
    loads: Sequence[float],
) -> dict[str, Any]:
    """All that was found out, as plain values."""
    ratio = ratios(runs)
    crew = runs.get("crew", [])
    variants = {
        name: {"says": variant.says, "trials": trials, **described(runs[name])}
        for name, variant, trials in plan
        if variant in VARIANTS and runs[name]
    }
    return {
        **ratio,
        "goals": {name: {"at_least": goal, "met": _met(ratio[name], goal)} for name, goal in GOALS.items()},
        "crew_start_cpu_seconds": Spread.of(run.start.cpu for run in crew).median if crew else None,
        "crew_start_seconds": Spread.of(run.start.seconds for run in crew).median if crew else None,
        "driver_cpu_per_trial": _driver(runs, DRIVER, "median"),
        "driver_cpu_per_trial_without_mlflow": _driver(runs, UNTRACKED, "median"),
        "driver_cpu_per_trial_rounds": _driver(runs, DRIVER, "rounds"),
        "driver_cpu_per_trial_without_mlflow_rounds": _driver(runs, UNTRACKED, "rounds"),
        "driver_cpu_per_trial_by_tenth_of_1000": _by_tenth(runs, DRIVER),
        "driver_cpu_per_trial_by_tenth_of_1000_without_mlflow": _by_tenth(runs, UNTRACKED),
        "variants": variants,
        "concurrency": 1,
        "rounds": options.rounds,
        "command": invocation("benchmarks.trial_cost", options.given),
        "machine": machine(loads),
        "versions": versions(LIBRARIES),
    }


def _met(ratio: float | None, goal: float) -> bool | None:
    return None if ratio is None else ratio >= goal


def _driver(runs: Runs, driver: Variant, what: str) -> dict[str, Any]:
    """CPU-seconds a trial of the driver's own process, by the sweep's number of trials."""
    found = {trials: runs.get(f"{driver.name}/{trials}") for trials in DRIVEN}
    return {
        str(trials): Spread.of(run.driver for run in measured).to_json()[what] if measured else None
        for trials, measured in found.items()
    }


def _by_tenth(runs: Runs, driver: Variant) -> list[float] | None:
    """Medians over the rounds for each tenth of the longest sweep: they rise where a trial costs more the more there were."""
    measured = runs.get(f"{driver.name}/{DRIVEN[-1]}")
    return (
        [Spread.of(tenth).median for tenth in zip(*(run.tenths for run in measured), strict=True)] if measured else None
    )


def _show(result: Mapping[str, Any]) -> None:
    """The tables: medians, and from the least to the greatest of the rounds."""
    from rich.console import Console
    from rich.table import Table

    console = Console(width=None if sys.stdout.isatty() else 160)
    table = Table(title=f"A trial, one at a time: median of {result['rounds']} rounds (least to greatest)")
    for column in ("", "CPU-s a trial", "s a trial", "CPU-s to start", "s to start", "trials"):
        table.add_column(column, justify="left" if not column else "right", no_wrap=True)
    for entry in result["variants"].values():
        cells = [cell(entry[part][unit]) for part in ("per_trial", "start") for unit in ("cpu_seconds", "seconds")]
        table.add_row(entry["says"], *cells, str(entry["trials"]))
    if result["variants"]:
        console.print(table)
    for name in (name for name, value in result.items() if "_vs_" in name and value is not None):
        goal = result["goals"].get(name)
        aim = f", goal at least {goal['at_least']:g}: {'met' if goal['met'] else 'missed'}" if goal else ""
        console.print(f"{name}: {result[name]:.3g}{aim}", highlight=False)
    for name in ("driver_cpu_per_trial", "driver_cpu_per_trial_without_mlflow"):
        rounds = result[f"{name}_rounds"]
        cells = [
            f"{trials} trials {1000 * value:.1f} ({1000 * min(rounds[trials]):.1f} to {1000 * max(rounds[trials]):.1f})"
            for trials, value in result[name].items()
            if value is not None
        ]
        if cells:
            console.print(f"{name}, ms: {'; '.join(cells)}", highlight=False)
    tenths = result["driver_cpu_per_trial_by_tenth_of_1000_without_mlflow"]
    if tenths:
        shown = ", ".join(f"{1000 * value:.1f}" for value in tenths)
        console.print(f"without MLflow, by tenth of {DRIVEN[-1]} trials, ms: {shown}", highlight=False)
    console.print(under(result["machine"], result["versions"]), highlight=False)


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    names = [variant.name for variant in (*VARIANTS, DRIVER, UNTRACKED)]
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.trial_cost",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    parser.add_argument("--rounds", type=natural, metavar="N", help="rounds over all variants (3; with --quick 1)")
    parser.add_argument("--only", nargs="+", choices=names, metavar="NAME", help=f"of {', '.join(names)}")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_TRIALS} trials a variant: shows that it works")
    options = parser.parse_args(arguments)
    options.rounds = options.rounds or (1 if options.quick else 3)
    options.given = [*arguments]
    return options


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
